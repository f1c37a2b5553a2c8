"""A run on disk: its writer, its reader, and the formats of its files."""
