"""PyTorch's namespace of special functions; they are in `functional/`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import absent as _absent

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("special")
