"""The content of the page in other forms: pictures, Markdown, JSON, JUnit. They are made of the same `Page`."""
