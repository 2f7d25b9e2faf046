"""The dataset's own files: which samples there are, and in which order."""
