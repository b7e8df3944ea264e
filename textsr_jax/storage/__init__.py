"""What the project keeps on disk, and how it is written."""
