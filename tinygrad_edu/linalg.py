"""PyTorch's namespace of linear algebra; its functions are in `functional/linalg.py` and `functional/matrices.py`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING

from . import absent as _absent
from .functional import matrices as _matrices
from .functional.linalg import matmul as matmul
from .functional.matrices import matrix_norm as matrix_norm
from .functional.matrices import matrix_power as matrix_power
from .functional.matrices import multi_dot as multi_dot
from .functional.matrices import vecdot as vecdot
from .functional.matrices import vector_norm as vector_norm

cross, diagonal, norm = _matrices.linalg_cross, _matrices.linalg_diagonal, _matrices.linalg_norm

__all__ = list(_absent.public(globals()))

if not _TYPE_CHECKING:  # for type checkers an absent name stays an error
    __getattr__ = _absent.getter("linalg")
