"""What a store looks like, as docs/store-format.md says; nothing here reads or writes."""
