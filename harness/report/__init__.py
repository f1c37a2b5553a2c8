"""A stored run for people: summary, criteria, sections and charts, as a page and on the terminal."""
