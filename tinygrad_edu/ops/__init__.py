"""The primitives: one class each, forward directly above backward, arrays in and arrays out."""
