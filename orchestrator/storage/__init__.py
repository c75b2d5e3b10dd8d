"""The results database: the only SQL in the project."""
