"""What a config may hold: kinds of values, the table of fields, and the check at every door."""
