"""What the process runs on: folders of the user alone, kept functions, and progress."""
