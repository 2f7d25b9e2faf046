"""Where bytes are: local folders and URLs."""
