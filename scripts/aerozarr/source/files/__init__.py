"""What the files of a sample hold: each kind of file, from its bytes to a field's rows."""
