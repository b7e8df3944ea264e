"""Whole photographs: the words in them, and their pages in other formats."""
