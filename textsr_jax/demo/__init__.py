"""The demo: a page on this machine alone that sharpens and reads crops that are dropped on it."""
