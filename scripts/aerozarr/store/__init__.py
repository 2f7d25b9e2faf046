"""The store: its format, and how it is written and read."""
