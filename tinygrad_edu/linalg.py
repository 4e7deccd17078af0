"""PyTorch's namespace of linear algebra; the functions are in `functional/linalg.py`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import absent as _absent

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("linalg")
