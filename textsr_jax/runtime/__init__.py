"""What the process runs on: folders of the user alone, and the functions that are kept in them."""
