"""One sample: from its source files to a group in the store, and a fragment."""
