"""The report room: results as tables, JSON files and pictures."""
