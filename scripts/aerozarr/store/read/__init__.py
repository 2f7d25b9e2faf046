"""Reading a store: random points of a sample, and nothing else of it."""
