"""The records of the op table, one file per family of functions."""
