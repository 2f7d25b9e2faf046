"""All fragments: the manifest, the files beside it, and the report."""
