"""pgAdmin for a rig: its packages, its files, its connection to the database, and its process."""
