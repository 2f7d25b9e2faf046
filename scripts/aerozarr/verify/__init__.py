"""Comparing a store with its source, and with what was recorded when it was written."""
