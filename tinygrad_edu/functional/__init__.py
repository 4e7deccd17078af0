"""Public functions on Tensors, one file per family. `Tensor`'s methods are these same functions.

Each function checks its arguments, then either applies one primitive of `ops/` or composes other functions.
"""
