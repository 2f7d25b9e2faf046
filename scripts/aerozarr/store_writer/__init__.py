"""A store from arrays in memory, by the code of the workflow's jobs."""
