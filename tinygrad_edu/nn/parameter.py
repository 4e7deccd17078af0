"""Parameter: a tensor that a module learns."""

from __future__ import annotations

from typing import Any

from ..autograd.exhausted import allocates
from ..tensor import Tensor


class Parameter(Tensor):
    """A tensor that registers itself as a parameter of the module it is assigned to.

    It shares the memory of `data` and is a leaf of the graph. Operations on it give plain Tensors.
    TypeError: data is not a Tensor. RuntimeError: it is not floating and requires_grad is True.
    """

    def __init__(self, data: Tensor | None = None, requires_grad: bool = True) -> None:
        data = Tensor() if data is None else data
        if not isinstance(data, Tensor):
            raise TypeError(f"Parameter: expected a Tensor, got {type(data).__name__}; write Parameter(tensor(data))")
        self._array = data._array
        self._share_memory_of(data)
        self.requires_grad = requires_grad

    def __repr__(self) -> str:
        return f"Parameter containing:\n{super().__repr__()}"

    def __copy__(self) -> Parameter:
        return type(self)(self, self.requires_grad)

    @allocates
    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        return type(self)(self._result(self._xp.array(self._array, order="K")), self.requires_grad)
