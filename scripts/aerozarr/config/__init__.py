"""What the user asks for: the settings, and the fields of a file map."""
