"""The Tensor: an array, and the node of the graph that it came from.

A method that is also a public function is that function (`x.softmax(-1)` is `softmax(x, -1)`); the class body lists
them by family. Only what changes or describes a tensor itself is written here.
"""

from __future__ import annotations

import copy
import operator
import weakref
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import absent
from .autograd.engine import Leaf, Node, Version
from .autograd.exhausted import allocates, out_of_memory
from .autograd.grad import backward
from .autograd.memory import memory_of
from .autograd.modes import enable_grad, no_grad, state
from .autograd.unfinished import array_of, finish, wait_no_more, waiting
from .backend import capture, dtypes, gpu, transfers
from .backend.device import Device, address, array_module, as_device, module_of, of_array, quiet, require_one_device
from .dispatch import apply
from .functional import (
    activation,
    arguments,
    arrangement,
    elementwise,
    indexing,
    linalg,
    matrices,
    normalization,
    reduction,
    sorting,
    special,
    statistics,
)
from .functional import shape as shapes
from .mirror import Mirror
from .ops.transfer import ToDevice

Scalar = bool | int | float
# How numbers are printed; see settings.set_printoptions.
PRINTING: dict[str, Any] = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 100, "sci_mode": None}


class Size(tuple[int, ...]):
    """The shape of a tensor: a tuple of its sizes."""

    def numel(self) -> int:
        """The product of the sizes."""
        return int(np.prod(self, dtype=np.int64))

    def __add__(self, other: Any) -> Size:
        return Size(super().__add__(other))

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Size(found) if isinstance(index, slice) else found

    def __repr__(self) -> str:
        return f"tinygrad_edu.Size({list(self)})"


def in_place(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The in-place form of a function: the result is written into its first argument, which is returned."""

    def method(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self._rewrite(function.__name__ + "_", function, *args, **kwargs)

    method.__name__ = method.__qualname__ = function.__name__ + "_"
    method.__doc__ = f"`{function.__name__}`, written into this tensor."
    method.__wrapped__ = function  # type: ignore[attr-defined]  # for tools that show its arguments
    return method


def _augmented(function: Callable[..., Tensor], on_arrays: Callable[[Any, Any], Any]) -> Callable[..., Tensor]:
    """`x += y` and its relatives: in place, straight on the memory where no graph is involved."""
    through_graph = in_place(function)

    def method(self: Tensor, other: Any) -> Tensor:
        value = arguments.operand(self, other)
        array = getattr(value, "_array", value)
        plain = not state.recording or not (self.requires_grad or getattr(value, "requires_grad", False))
        if plain and self._holds(array):
            self._check_may_change(function.__name__ + "_")
            with quiet:
                on_arrays(self._array, array)
            return self._changed()
        return through_graph(self, value)

    return method


def _operator(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`x + y` of a function: Python decides what happens if y is neither a tensor nor a number nor an array."""

    def method(self: Tensor, other: Any) -> Tensor:
        fits = isinstance(other, _OPERANDS) or type(other) in gpu.array_types
        return function(self, other) if fits else NotImplemented

    return method


def _reflected(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`y + x` of a function, where y is a number or an array."""

    def method(self: Tensor, other: Any) -> Tensor:
        fits = isinstance(other, _OPERANDS) or type(other) in gpu.array_types
        return function(other, self) if fits else NotImplemented

    return method


class RemovableHandle:
    """Takes back what was registered when `remove()` is called."""

    def __init__(self, registered: list[Any], entry: Any) -> None:
        self._registered, self._entry = registered, entry

    def remove(self) -> None:
        """Unregister; a second call does nothing."""
        if self._entry in self._registered:
            self._registered.remove(self._entry)


class Tensor:
    """A multi-dimensional array that remembers how it was computed.

    `Tensor(data)` makes a tensor of the default floating dtype, `Tensor(2, 3)` one of that shape filled with zeros; use
    `tinygrad_edu.tensor(data)` to keep the dtype of the data.
    """

    # Plain class attributes are the defaults; an instance stores only what differs.
    _node: Node | None = None  # what computed this tensor
    _requires_grad = False  # set by the user, on a leaf
    _leaf: Any = None  # weak reference to this leaf's place in graphs
    _hooks: list[Callable[[Any], Any]] | None = None
    _grad: Tensor | None = None
    _seen = 0  # the recorded change of the memory that this tensor's history accounts for
    _memory: Version

    __array_ufunc__ = None  # NumPy then leaves `array + tensor` to the tensor
    __array_priority__ = 1000

    @allocates
    def __init__(self, *data: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> None:
        chosen = dtypes.get_default_dtype() if dtype is None else dtypes.as_dtype(dtype)
        place = as_device(device)
        xp = array_module(place)
        if all(type(n) is int for n in data) and data:
            self._array = xp.zeros(data, chosen.dtype)
        elif len(data) == 1:
            source = transfers.to_host(data[0]._array) if isinstance(data[0], Tensor) else data[0]
            self._array = transfers.to_device(np.array(source, dtype=chosen.dtype), place)
        elif not data:
            self._array = xp.zeros(0, chosen.dtype)
        else:
            raise TypeError(f"Tensor() takes one sequence or a shape of integers, got {len(data)} arguments")
        self._memory = Version()
        if requires_grad:
            self.requires_grad = True

    # ---- making tensors from this one ------------------------------------------------------------------------------

    @staticmethod
    def _result(array: Any, node: Node | None = None) -> Tensor:
        """A new tensor holding a computed array, without a copy."""
        new: Tensor = object.__new__(Tensor)
        new._array = array
        new._memory = Version()
        if node is not None:
            new._node = node
        return new

    def _share_memory_of(self, other: Tensor) -> Tensor:
        self._memory, self._seen = other._memory, other._seen
        return self

    def detach(self) -> Tensor:
        """The same memory without the history: no gradient flows through the result."""
        return self._result(self._array)._share_memory_of(self)

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor apart: changes made through it are not noticed by backward."""
        return self._result(self._array)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"data: expected a Tensor, got {type(value).__name__}")
        if gpu.array_types and value.is_cuda != self.is_cuda:
            raise RuntimeError(
                f"data: expected a Tensor on {self.device}, where this one is, but got one on {value.device}, which is "
                f"an incompatible tensor type; write value.to({str(self.device)!r}), or module.to(device) to move it"
            )
        self._set_data(value)

    def _set_data(self, value: Tensor) -> None:
        """Have the memory of another tensor, of any shape, dtype and device, from now on."""
        if (
            value._array.shape != self._array.shape or value._array.dtype != self._array.dtype
            or type(value._array) is not type(self._array)
        ):  # fmt: skip
            self._leaf = None  # graphs recorded from now on know the new shape, dtype and device
        self._array = value._array

    def __copy__(self) -> Tensor:
        """A leaf that shares the memory."""
        return self.detach().requires_grad_(self.requires_grad)

    @allocates
    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        if self._node is not None:
            raise RuntimeError(
                "only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol; use clone() "
                "to stay in the graph, detach().clone() to leave it"
            )
        new = self._result(self._xp.array(self._array, order="K")).requires_grad_(self._requires_grad)
        new._grad = copy.deepcopy(self._grad, memo)
        return new

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("tensors are not pickled; write them with tinygrad_edu.save(), which needs no pickle to read")

    # ---- what it is ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        return Size(self._array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of_array(self._array)

    @property
    def device(self) -> Device:
        return of_array(self._array)

    @property
    def _xp(self) -> Any:
        return module_of(self._array)

    @property
    def _mirror(self) -> Mirror:
        return Mirror(self._xp, self._result)

    @property
    def ndim(self) -> int:
        return self._array.ndim

    def dim(self) -> int:
        """The number of dimensions."""
        return self._array.ndim

    ndimension = dim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return self.shape if dim is None else self._array.shape[arguments.dim_index(dim, self._array.ndim)]

    def numel(self) -> int:
        """The number of elements."""
        return self._array.size

    nelement = numel

    @property
    def itemsize(self) -> int:
        return self._array.itemsize

    def element_size(self) -> int:
        """Bytes per element."""
        return self._array.itemsize

    @property
    def nbytes(self) -> int:
        return self._array.nbytes

    def stride(self, dim: int | None = None) -> Any:
        """The step in memory, in elements, from one index to the next: of every dimension, or of one."""
        steps = tuple(s // self._array.itemsize for s in self._array.strides)
        return steps if dim is None else steps[arguments.dim_index(dim, self._array.ndim)]

    def is_contiguous(self) -> bool:
        """Whether the elements lie in memory in row-major order without gaps."""
        return self._array.flags.c_contiguous

    def is_floating_point(self) -> bool:
        return dtypes.is_floating(self._array.dtype)

    def is_complex(self) -> bool:
        """False: numbers here are real."""
        return False

    def is_signed(self) -> bool:
        """Whether the dtype has negative numbers."""
        return self.dtype.is_signed

    def is_nonzero(self) -> bool:
        """Whether the one element is not zero. RuntimeError: not exactly one element."""
        return bool(self)

    def data_ptr(self) -> int:
        """The address in memory of the first element."""
        self._share_with_others()
        return address(self._array)

    def _share_with_others(self) -> None:
        """Other code may now change this memory at any time."""
        if self.is_cuda:
            wait_no_more()

    def get_device(self) -> int:
        """The index of the GPU, -1 on the CPU."""
        index = self.device.index
        return -1 if index is None else index

    def pin_memory(self) -> Tensor:
        """This tensor: copies to a GPU read it where it is."""
        return self

    @property
    def is_cpu(self) -> bool:
        return self.device.type == "cpu"

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    # ---- its numbers -----------------------------------------------------------------------------------------------

    def item(self) -> Scalar:
        """The one number in this tensor, as a Python number. RuntimeError: not exactly one element."""
        if self._array.size != 1:
            raise RuntimeError(f"a Tensor with {self._array.size} elements cannot be converted to Scalar")
        return transfers.to_host(self._array).item()

    def tolist(self) -> Any:
        """The numbers as nested Python lists; a plain number for a 0-d tensor."""
        return transfers.to_host(self._array).tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """The same memory as a NumPy array. force=True detaches first. TypeError: NumPy has no bfloat16."""
        if self.requires_grad and not force:
            raise RuntimeError(
                "can't call numpy() on a Tensor that requires grad, since gradients would not flow through the array; "
                "use tensor.detach().numpy()"
            )
        if self.is_cuda and not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                "memory first."
            )
        if self._array.dtype.kind == "V":
            raise TypeError("NumPy has no bfloat16; write tensor.float().numpy()")
        return transfers.to_host(self._array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        return np.array(array, dtype=dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        if self.requires_grad:
            raise RuntimeError("can't export a Tensor that requires grad; use tensor.detach()")
        self._share_with_others()
        return self._array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __bool__(self) -> bool:
        if self._array.size != 1:
            raise RuntimeError(
                f"Boolean value of Tensor with {self._array.size} values is ambiguous; use .any() or .all()"
            )
        return bool(transfers.to_host(self._array).item())

    def __int__(self) -> int:
        return int(self._only_number())

    def __float__(self) -> float:
        return float(self._only_number())

    def _only_number(self) -> Scalar:
        if self._array.size != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, this has {self.numel()}")
        return transfers.to_host(self._array).item()

    def __index__(self) -> int:
        if dtypes.is_floating(self._array.dtype) or self._array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(transfers.to_host(self._array).item())

    def __repr__(self) -> str:
        return self._text("tensor")

    def _text(self, name: str) -> str:
        """The numbers (the corners of a large tensor) and what else a reader needs to know."""
        array, how = dtypes.wide(transfers.to_host(self._array)), PRINTING
        scientific: Any = {"float_kind": lambda x: f"{x:.{how['precision']}e}"} if how["sci_mode"] else None
        numbers = np.array2string(
            array, separator=", ", prefix=f"{name}(", precision=how["precision"], threshold=how["threshold"],
            edgeitems=how["edgeitems"], max_line_width=how["linewidth"], formatter=scientific,
            suppress_small=how["sci_mode"] is False or None,
        )  # fmt: skip
        notes = []
        if array.size == 0 or array.size > how["threshold"]:
            notes.append(f"shape={tuple(array.shape)}")
        if self.is_cuda:
            notes.append(f"device='{self.device}'")
        if self.dtype not in (dtypes.get_default_dtype(), dtypes.int64, dtypes.bool_):
            notes.append(f"dtype={self.dtype}")
        if self._node is not None:
            notes.append(f"grad_fn={self._node!r}")
        elif self._requires_grad:
            notes.append("requires_grad=True")
        return f"{name}({', '.join([numbers, *notes])})"

    if not TYPE_CHECKING:  # for type checkers an absent name stays an error

        def __getattr__(self, name: str) -> Any:
            if name == "_array" and (array := array_of(self)) is not None:  # a launch waited
                return array
            return absent.of_tensor(self, name)

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.ndim:
            raise TypeError(f"a format such as {spec!r} needs a 0-d tensor, this one has shape {tuple(self.shape)}")
        return format(self.item(), spec)

    # ---- another dtype or device -----------------------------------------------------------------------------------

    def to(
        self, *args: Any, dtype: Any = None, device: Any = None, non_blocking: bool = False, copy: bool = False
    ) -> Tensor:
        """This tensor with another dtype or device: `to(dtype)`, `to(device)`, `to(other)`, or both, or by name.

        The tensor itself comes back when nothing has to change and copy is False. non_blocking changes nothing here.
        """
        flags = [arg for arg in args if isinstance(arg, bool)]  # non_blocking, copy
        copy = copy or flags[1:] == [True]
        for arg in args:
            if isinstance(arg, Tensor):
                dtype, device = arg.dtype, arg.device
            elif isinstance(arg, (str, Device)) or type(arg) is int:
                device = arg
            elif not isinstance(arg, bool):
                dtype = arg
        wanted = self.dtype if dtype is None else dtypes.as_dtype(dtype)
        here = self.device
        place = here if device is None else as_device(device)
        # Less is copied if what makes the numbers shorter comes first.
        moved = arguments.cast(self, wanted) if wanted.itemsize < self.itemsize else self
        moved = moved if place == here else apply(ToDevice, moved, device=place)
        moved = arguments.cast(moved, wanted)
        return elementwise.clone(self) if copy and moved is self else moved

    def cpu(self) -> Tensor:
        """This tensor on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> Tensor:
        """This tensor on the GPU. RuntimeError: there is none to use."""
        return self.to(Device("cuda", device) if isinstance(device, int) else device or "cuda")

    def type(self, dtype: Any = None) -> Any:
        """The dtype's name, or this tensor in another dtype."""
        return repr(self.dtype) if dtype is None else self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor in the dtype of the other."""
        return self.to(other.dtype)

    def double(self) -> Tensor:
        """This tensor as float64."""
        return self.to(dtypes.float64)

    def half(self) -> Tensor:
        """This tensor as float16."""
        return self.to(dtypes.float16)

    def bfloat16(self) -> Tensor:
        """This tensor as bfloat16."""
        return self.to(dtypes.bfloat16)

    def long(self) -> Tensor:
        """This tensor as int64 (rounded towards zero)."""
        return self.to(dtypes.int64)

    def short(self) -> Tensor:
        """This tensor as int16."""
        return self.to(dtypes.int16)

    def char(self) -> Tensor:
        """This tensor as int8."""
        return self.to(dtypes.int8)

    def byte(self) -> Tensor:
        """This tensor as uint8."""
        return self.to(dtypes.uint8)

    # ---- new tensors like this one ---------------------------------------------------------------------------------

    @allocates
    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """A tensor of this data, in this tensor's dtype."""
        array = np.array(transfers.to_host(getattr(data, "_array", data)), dtype=self._dtype_or(dtype))
        return made(transfers.to_device(array, self._device_or(device)), requires_grad)

    @allocates
    def new_zeros(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """Zeros of this shape, in this tensor's dtype."""
        xp = array_module(self._device_or(device))
        return made(xp.zeros(arguments.sizes(size), self._dtype_or(dtype)), requires_grad)

    @allocates
    def new_ones(self, *size: Any, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Tensor:
        """Ones of this shape, in this tensor's dtype."""
        xp = array_module(self._device_or(device))
        return made(xp.ones(arguments.sizes(size), self._dtype_or(dtype)), requires_grad)

    @allocates
    def new_full(self, size: Any, fill_value: Any, *, dtype: Any = None, device: Any = None,
                 requires_grad: bool = False) -> Tensor:  # fmt: skip
        """This number everywhere, in this tensor's dtype."""
        xp = array_module(self._device_or(device))
        return made(xp.full(arguments.sizes((size,)), fill_value, self._dtype_or(dtype)), requires_grad)

    new_empty = new_zeros

    def _device_or(self, device: Any) -> Device:
        return self.device if device is None else as_device(device)

    def _dtype_or(self, dtype: Any) -> Any:
        return self._array.dtype if dtype is None else dtypes.as_dtype(dtype).dtype

    # ---- its place in the graph ------------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded."""
        return self._node is not None or self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if self._node is not None and not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables; detach() gives a tensor without history"
            )
        if value and not dtypes.is_floating(self._array.dtype):
            raise RuntimeError(f"only Tensors of floating point dtype can require gradients, this one is {self.dtype}")
        self._requires_grad = bool(value) and self._node is None

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set requires_grad and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor was not computed by a recorded operation."""
        return self._node is None

    @property
    def grad_fn(self) -> Node | None:
        """The node that computed this tensor; None for a leaf."""
        return self._node

    @property
    def grad(self) -> Tensor | None:
        """The gradient accumulated by backward passes, or None."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value._array.shape != self._array.shape or value._array.dtype != self._array.dtype:
                raise RuntimeError(
                    f"assigned grad has shape {tuple(value.shape)} and dtype {value.dtype}, but the tensor has shape "
                    f"{tuple(self.shape)} and dtype {self.dtype}"
                )
            require_one_device("grad", (self, value))
        self._grad = value

    def _accumulate_grad(self, g: Any, owned: bool) -> None:
        """Add an incoming gradient; an array that the engine does not own is copied.

        A pass that is recorded brings a Tensor: it is added out of place, so that the graph keeps what it saved.
        """
        if capture.under_way and (recorder := capture.recorder()) is not None:
            recorder.arriving(self)
        if gpu.several or type(getattr(g, "_array", g)) is not type(self._array):
            require_one_device("backward, whose leaf was moved since", (self, g))
        if isinstance(g, Tensor):
            self._grad = elementwise.clone(g) if self._grad is None else self._grad + g
        elif self._grad is None:
            self._grad = self._result(g if owned else g.copy())
        elif self._grad._node is not None:
            self._grad = self._result(self._grad._array + g)
        else:
            if waiting:
                finish()
            self._grad._array += g
            self._grad._changed()

    def _origin(self) -> Node | Leaf | None:
        """Where the gradient of an operation on this tensor goes; None if it takes none."""
        if self._memory.recorded > self._seen:
            raise RuntimeError(
                "this tensor shares memory with one that was changed in place by a recorded operation after this one "
                "was made, so its history is out of date; take the view again after the change, or change a clone()"
            )
        return self._graph_node() if self._requires_grad else self._node

    def _graph_node(self) -> Node | Leaf:
        """This tensor's node; the graph keeps a leaf tensor alive, not the other way round."""
        if self._node is not None:
            return self._node
        known = self._leaf
        leaf = known and known()
        if leaf is None:
            array = self._array
            leaf = Leaf(self, array.shape, array.dtype)
            self._leaf = weakref.ref(leaf)
        return leaf

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the `.grad` of every leaf it depends on, or of the `inputs` alone.

        gradient: the loss's gradient with respect to this tensor, of its shape; may be left out for one element.
        retain_graph: keep what was saved, so that backward can run through the same graph again.
        create_graph: record the pass itself, so that the gradients can be differentiated again.
        """
        backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Keep the gradient of this non-leaf tensor in its `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on a Tensor that has requires_grad=False")
        if self._node is None:
            return
        reference = weakref.ref(self)

        def keep(g: Any) -> None:
            tensor = reference()
            if tensor is not None:
                tensor._accumulate_grad(g, owned=False)

        self._node.retain = keep

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Call `hook(grad)` when this tensor's gradient is complete; a tensor it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")

        def on_gradient(g: Any) -> Any:
            recorded = isinstance(g, Tensor)  # else an array
            with enable_grad() if recorded else no_grad():
                replaced = hook(g if recorded else wrap(g))
            if replaced is None:
                return None
            if replaced.shape != g.shape:
                raise RuntimeError(f"hook returned shape {tuple(replaced.shape)}, expected {tuple(g.shape)}")
            if gpu.array_types:
                require_one_device("a hook, whose gradient this replaces", (g, replaced))
            return replaced.to(g.dtype) if recorded else replaced._array.astype(g.dtype, copy=False)

        wrap = self._result
        holder = self if self._node is None else self._node
        name = "_hooks" if self._node is None else "hooks"
        hooks = getattr(holder, name)
        if hooks is None:
            hooks = []
            setattr(holder, name, hooks)
        hooks.append(on_gradient)
        return RemovableHandle(hooks, on_gradient)

    # ---- changing it in place --------------------------------------------------------------------------------------

    @property
    def _version(self) -> int:
        """How often this tensor's memory was changed in place."""
        return self._memory.count

    def _check_may_change(self, name: str) -> None:
        if waiting:
            finish()  # what waits may read this memory
        array = self._array
        if capture.under_way and type(array) not in gpu.array_types:
            capture.refuse(capture.IN_PLACE)
        if gpu.several:
            module_of(array)  # which computes there from now on
        # CuPy does not know that an expanded array must not be written to.
        expanded = type(array) in gpu.array_types and array.size and any(
            n > 1 and not s for n, s in zip(array.shape, array.strides, strict=True)
        )
        if expanded or not getattr(array.flags, "writeable", True):
            raise RuntimeError(
                f"{name}: this memory cannot be written to: it is read-only, or was expanded, so that several elements "
                "share a place; change a clone()"
            )
        origin = self._origin() if state.recording else None
        while isinstance(origin, Node) and origin.op.may_alias and origin.parents[0] is not None:
            origin = origin.parents[0]
        if isinstance(origin, Leaf) and memory_of(origin.tensor._array) is memory_of(self._array):
            kind = "a leaf" if origin.tensor is self else "a view of a leaf"
            raise RuntimeError(
                f"{name}: {kind} Variable that requires grad is being used in an in-place operation; do it under "
                "no_grad(), or use the out-of-place form"
            )

    def _holds(self, x: Any) -> bool:
        """Whether arithmetic with x can run straight on this memory: x is no larger, and a number or of this dtype."""
        if self._array.dtype.kind != "f":  # bfloat16 is computed in float32
            return False
        if not hasattr(x, "dtype"):
            return True
        sizes = zip(reversed(x.shape), reversed(self._array.shape), strict=False)
        alike = type(x) is type(self._array) and x.dtype == self._array.dtype
        return alike and x.ndim <= self.ndim and all(n in (1, m) for n, m in sizes)

    def _rewrite(self, name: str, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
        """Write function(self, ...) into this tensor."""
        self._check_may_change(name)
        if state.recording and any(getattr(x, "requires_grad", False) for x in (self, *args, *kwargs.values())):
            try:
                before = self._result(self._array.copy(), self._node)  # what is saved for backward outlives the change
            except MemoryError as error:
                raise out_of_memory(f"{name} of {tuple(self.shape)}", error) from error
            return self._take(function(before, *(before if x is self else x for x in args), **kwargs))
        return self._take(function(self, *args, **kwargs))

    def _take(self, value: Tensor) -> Tensor:
        """Make this tensor hold `value`: same memory, its numbers, its history."""
        if value._array.shape != self._array.shape:
            raise RuntimeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape {list(value.shape)}"
            )
        if value.dtype.category > self.dtype.category:
            raise RuntimeError(f"result type {value.dtype} can't be cast to the desired output type {self.dtype}")
        value = arguments.cast(value, self.dtype)
        require_one_device("in-place change", (self, value))
        self._array[...] = value._array
        return self._changed(value._node)

    def _changed(self, node: Node | None = None) -> Tensor:
        """Note that this memory was changed; `node` computed the new numbers (None: no graph did)."""
        memory = self._memory
        memory.add(self._array)
        if capture.under_way and (recorder := capture.recorder()) is not None:
            recorder.changing(self)
        if state.recording and (node is not None or self._node is not None):
            if self._node is not None and node is not None:  # retain_grad() means the tensor as it will be at the end
                node.retain, self._node.retain = self._node.retain, None
            self._node = node
            # Other views of the memory now have outdated histories.
            memory.recorded_before, memory.recorded = memory.recorded, memory.count
            self._seen = memory.count
        return self

    def copy_(self, source: Any) -> Tensor:
        """Write `source` (broadcast, cast) into this tensor."""
        self._check_may_change("copy_")
        value = arguments.operand(self, source)
        if not isinstance(value, Tensor):
            return self.fill_(value)
        return self._take(value.to(self.device, self.dtype).expand(self.shape).clone())

    def fill_(self, value: Any) -> Tensor:
        """Set every element to `value`."""
        self._check_may_change("fill_")
        if isinstance(value, Tensor):
            return self.copy_(value)
        if not isinstance(value, (bool, int, float, np.generic)):
            raise TypeError(f"fill_: expected a number or a 0-d tensor, got {type(value).__name__}")
        self._array[...] = value
        return self._changed()

    def zero_(self) -> Tensor:
        """Set every element to zero."""
        return self.fill_(0)

    def normal_(self, mean: float = 0.0, std: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with normal random numbers."""
        if std < 0:
            raise RuntimeError(f"normal_: expects std >= 0.0, but found std {std}")
        return self._fill_random(
            "normal_", lambda stream, a: mean + std * stream.normal(a.shape, a.dtype, self._xp), generator
        )

    def uniform_(self, from_: float = 0.0, to: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with random numbers uniform on [from_, to)."""
        if from_ > to:
            raise RuntimeError(f"uniform_: expects to return a [from, to) range, but found from={from_} > to={to}")
        return self._fill_random(
            "uniform_", lambda stream, a: from_ + (to - from_) * stream.uniform(a.shape, a.dtype, self._xp), generator
        )

    def bernoulli_(self, p: float = 0.5, *, generator: Any = None) -> Tensor:
        """Fill with 1 with probability p, else 0."""
        if not 0 <= p <= 1:
            raise RuntimeError(f"bernoulli_: expects p to be in [0, 1], but got p={p}")
        return self._fill_random(
            "bernoulli_", lambda stream, a: stream.uniform(a.shape, np.float32, self._xp) < p, generator, floating=False
        )

    def random_(self, from_: int = 0, to: int | None = None, *, generator: Any = None) -> Tensor:
        """Fill with integers uniform on [from_, to); `random_(to)` starts at 0."""
        low, high = (0, from_) if to is None else (from_, to)
        if low >= high:
            raise RuntimeError(f"random_: expects 'from' to be less than 'to', but got from={low} >= to={high}")
        return self._fill_random(
            "random_", lambda stream, a: stream.integers(low, high, a.shape, self._xp), generator, floating=False
        )

    def exponential_(self, lambd: float = 1.0, *, generator: Any = None) -> Tensor:
        """Fill with numbers of the exponential distribution with rate lambd."""
        if lambd <= 0:
            raise RuntimeError(f"exponential_: expects lambd > 0.0, but found lambd={lambd}")
        xp = self._xp
        return self._fill_random(
            "exponential_", lambda stream, a: -xp.log1p(-stream.uniform(a.shape, np.float64, xp)) / lambd, generator
        )

    def _fill_random(self, name: str, draw: Callable[[Any, Any], Any], generator: Any, floating: bool = True) -> Tensor:
        from .random import stream_of  # above this module, since generators speak in tensors

        self._check_may_change(name)
        if floating and not self.is_floating_point():
            raise NotImplementedError(f"{name}: expected a floating tensor, this one is {self.dtype}")
        try:
            self._array[...] = draw(stream_of(generator, self._xp), self._array)
        except MemoryError as error:
            raise out_of_memory(f"{name} of {tuple(self.shape)}", error) from error
        return self._changed()

    def multinomial(self, num_samples: int, replacement: bool = False, *, generator: Any = None) -> Tensor:
        """Indices drawn with these probabilities; see `multinomial`."""
        from .random import multinomial

        return multinomial(self, num_samples, replacement, generator=generator)

    def bernoulli(self, *, generator: Any = None) -> Tensor:
        """1 with the probability that each element gives, else 0; see `bernoulli`."""
        from .random import bernoulli

        return bernoulli(self, generator=generator)

    def detach_(self) -> Tensor:
        """Cut this tensor from its history."""
        self._node, self._requires_grad = None, False
        return self

    # ---- elements and slices ---------------------------------------------------------------------------------------

    __getitem__ = indexing.getitem

    @allocates
    def __setitem__(self, index: Any, value: Any) -> None:
        """Write `value` (broadcast, cast to this dtype) into the elements that `x[index]` would give."""
        place = indexing.Place(self, index)
        value = arguments.operand(self, value)
        if isinstance(value, Tensor) and self._is_outdated_by_its_part(place, value):
            self._seen = self._memory.recorded
        if gpu.array_types and isinstance(value, Tensor) and value.device != self.device:
            if place.indices and value.ndim:
                require_one_device("x[...] = value", (self, value))
            value = value.to(self.device)
        self._check_may_change("x[...] = value")
        if state.recording and (self.requires_grad or getattr(value, "requires_grad", False)):
            if not isinstance(value, Tensor):
                value = self._result(self._xp.asarray(value, self._array.dtype))
            # The node of a constant keeps what was in it before.
            before = self if self.requires_grad else self._result(self._array.copy())
            self._take(place.replaced(before, arguments.cast(value, self.dtype)))
        else:
            place.write(self._array, getattr(value, "_array", value))
            self._changed()

    def _is_outdated_by_its_part(self, place: indexing.Place, part: Tensor) -> bool:
        """Whether Python is at the end of `x[i] += y`: the view x[i] was changed, and is now assigned to its place."""
        memory = self._memory
        if part._memory is not memory or not self._seen < part._seen == memory.recorded:
            return False
        view = self._array[place.basic or ...]
        return (
            not place.indices
            and self._seen >= memory.recorded_before
            and (address(view), view.shape, view.strides) == (address(part._array), part.shape, part._array.strides)
        )

    def __len__(self) -> Any:
        if not self._array.ndim:
            raise TypeError("len() of a 0-d tensor")
        return len(self._array)

    def __iter__(self) -> Iterator[Tensor]:
        if not self._array.ndim:
            raise TypeError("iteration over a 0-d tensor")
        return iter(shapes.unbind(self))

    def __contains__(self, element: Any) -> Any:
        """Whether any element equals `element`, a number or a tensor that is broadcast."""
        value = arguments.operand(self, element)
        return bool((self == value).any())

    @property
    def T(self) -> Tensor:
        """The dimensions in reverse order. A view."""
        return shapes.permute(self, tuple(reversed(range(self._array.ndim))))

    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged. A view."""
        if self._array.ndim < 2:
            raise RuntimeError(
                f"mT is only supported on matrices or batches of matrices, got shape {tuple(self.shape)}"
            )
        return shapes.transpose(self, -2, -1)

    @property
    def H(self) -> Tensor:
        """A matrix transposed (numbers here are real). A view."""
        if self._array.ndim not in (0, 2):
            raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.")
        return shapes.t(self)

    # ---- methods that are functions --------------------------------------------------------------------------------

    # functional/elementwise.py
    add, sub, mul, div = elementwise.add, elementwise.sub, elementwise.mul, elementwise.div
    subtract, multiply, divide, true_divide = sub, mul, div, div
    floor_divide, remainder, fmod = elementwise.floor_divide, elementwise.remainder, elementwise.fmod
    neg, negative, positive = elementwise.neg, elementwise.neg, elementwise.positive
    abs, absolute, reciprocal, square = elementwise.abs, elementwise.abs, elementwise.reciprocal, elementwise.square
    lerp, addcmul, addcdiv = elementwise.lerp, elementwise.addcmul, elementwise.addcdiv
    pow, sqrt, rsqrt = elementwise.pow, elementwise.sqrt, elementwise.rsqrt
    exp, exp2, expm1 = elementwise.exp, elementwise.exp2, elementwise.expm1
    log, log1p, log2, log10 = elementwise.log, elementwise.log1p, elementwise.log2, elementwise.log10
    sin, cos, tan = elementwise.sin, elementwise.cos, elementwise.tan
    asin, acos, atan, atan2 = elementwise.asin, elementwise.acos, elementwise.atan, elementwise.atan2
    arcsin, arccos, arctan, arctan2 = asin, acos, atan, atan2
    sinh, cosh = elementwise.sinh, elementwise.cosh
    erf, erfc = elementwise.erf, elementwise.erfc
    floor, ceil, trunc, fix, round = (
        elementwise.floor, elementwise.ceil, elementwise.trunc, elementwise.trunc, elementwise.round
    )  # fmt: skip
    sign, clamp, clip = elementwise.sign, elementwise.clamp, elementwise.clip
    clamp_min, clamp_max = elementwise.clamp_min, elementwise.clamp_max
    maximum, minimum, nan_to_num = elementwise.maximum, elementwise.minimum, elementwise.nan_to_num
    eq, ne, lt, le, gt, ge = (
        elementwise.eq, elementwise.ne, elementwise.lt, elementwise.le, elementwise.gt, elementwise.ge
    )  # fmt: skip
    not_equal, less, less_equal, greater, greater_equal = ne, lt, le, gt, ge
    equal, isclose, allclose = elementwise.equal, elementwise.isclose, elementwise.allclose
    isnan, isinf, isfinite = elementwise.isnan, elementwise.isinf, elementwise.isfinite
    logical_and, logical_or = elementwise.logical_and, elementwise.logical_or
    logical_xor, logical_not = elementwise.logical_xor, elementwise.logical_not
    bitwise_and, bitwise_or = elementwise.bitwise_and, elementwise.bitwise_or
    bitwise_xor, bitwise_not = elementwise.bitwise_xor, elementwise.bitwise_not
    clone = elementwise.clone

    def where(self, condition: Tensor, other: Any) -> Tensor:
        """This tensor where the condition holds, else other."""
        return elementwise.where(condition, self, other)

    # functional/special.py
    acosh, asinh, atanh = special.acosh, special.asinh, special.atanh
    arccosh, arcsinh, arctanh = acosh, asinh, atanh
    deg2rad, rad2deg, hypot, sinc = special.deg2rad, special.rad2deg, special.hypot, special.sinc
    logaddexp, logaddexp2, xlogy, logit = special.logaddexp, special.logaddexp2, special.xlogy, special.logit
    frac, sgn, signbit, copysign = special.frac, special.sgn, special.signbit, special.copysign
    heaviside, nextafter = special.heaviside, special.nextafter
    isposinf, isneginf, isreal = special.isposinf, special.isneginf, special.isreal
    fmax, fmin, float_power, ldexp = special.fmax, special.fmin, special.float_power, special.ldexp
    gcd, lcm, conj = special.gcd, special.lcm, special.conj
    bitwise_left_shift, bitwise_right_shift = special.bitwise_left_shift, special.bitwise_right_shift
    # functional/arrangement.py
    hsplit, vsplit, dsplit = arrangement.hsplit, arrangement.vsplit, arrangement.dsplit
    split_with_sizes, fliplr, flipud = arrangement.split_with_sizes, arrangement.fliplr, arrangement.flipud
    adjoint, diagflat = arrangement.adjoint, arrangement.diagflat
    # functional/statistics.py
    nanmean, nanmedian = statistics.nanmean, statistics.nanmedian
    quantile, nanquantile = statistics.quantile, statistics.nanquantile
    cummax, cummin, diff, histc = statistics.cummax, statistics.cummin, statistics.diff, statistics.histc
    logcumsumexp = statistics.logcumsumexp
    cov, corrcoef, dist = statistics.cov, statistics.corrcoef, statistics.dist
    # functional/matrices.py
    addbmm, addr, ger = matrices.addbmm, matrices.addr, matrices.ger
    matrix_power, cross = matrices.matrix_power, matrices.cross
    # functional/activation.py
    relu, sigmoid, tanh = activation.relu, activation.sigmoid, activation.tanh
    hardshrink, prelu = activation.hardshrink, activation.prelu
    # functional/reduction.py
    sum, mean, prod, nansum = reduction.sum, reduction.mean, reduction.prod, reduction.nansum
    count_nonzero, cumsum, cumprod = reduction.count_nonzero, reduction.cumsum, reduction.cumprod
    max, min, median = reduction.max, reduction.min, reduction.median
    amax, amin, aminmax = reduction.amax, reduction.amin, reduction.aminmax
    argmax, argmin = reduction.argmax, reduction.argmin
    var, std, norm, logsumexp = reduction.var, reduction.std, reduction.norm, reduction.logsumexp
    any, all = reduction.any, reduction.all
    # functional/shape.py
    reshape, reshape_as, view, view_as = shapes.reshape, shapes.reshape_as, shapes.view, shapes.view_as
    flatten, ravel, unflatten, contiguous = shapes.flatten, shapes.ravel, shapes.unflatten, shapes.contiguous
    squeeze, unsqueeze = shapes.squeeze, shapes.unsqueeze
    permute, transpose, t = shapes.permute, shapes.transpose, shapes.t
    swapaxes, swapdims = shapes.swapaxes, shapes.swapdims
    movedim, moveaxis = shapes.movedim, shapes.moveaxis
    expand, expand_as, broadcast_to = shapes.expand, shapes.expand_as, shapes.broadcast_to
    repeat, tile, repeat_interleave = shapes.repeat, shapes.tile, shapes.repeat_interleave
    split, chunk, tensor_split, unbind = shapes.split, shapes.chunk, shapes.tensor_split, shapes.unbind
    narrow, select, unfold = shapes.narrow, shapes.select, shapes.unfold
    flip, roll, rot90, tril, triu = shapes.flip, shapes.roll, shapes.rot90, shapes.tril, shapes.triu
    diagonal, diag, diag_embed = shapes.diagonal, shapes.diag, shapes.diag_embed
    # functional/indexing.py
    index_select, index_add, index_copy = indexing.index_select, indexing.index_add, indexing.index_copy
    index_fill, index_put = indexing.index_fill, indexing.index_put
    gather, scatter, scatter_add = indexing.gather, indexing.scatter, indexing.scatter_add
    take, take_along_dim = indexing.take, indexing.take_along_dim
    masked_fill, masked_select = indexing.masked_fill, indexing.masked_select
    nonzero, argwhere, bincount = indexing.nonzero, indexing.argwhere, indexing.bincount
    # functional/sorting.py
    sort, argsort, msort, topk = sorting.sort, sorting.argsort, sorting.msort, sorting.topk
    kthvalue, unique = sorting.kthvalue, sorting.unique
    # functional/linalg.py
    matmul, mm, bmm, mv = linalg.matmul, linalg.mm, linalg.bmm, linalg.mv
    dot, vdot, inner, outer = linalg.dot, linalg.vdot, linalg.inner, linalg.outer
    addmm, addmv, baddbmm = linalg.addmm, linalg.addmv, linalg.baddbmm
    trace, kron = linalg.trace, linalg.kron
    # functional/normalization.py
    softmax, log_softmax = normalization.softmax, normalization.log_softmax
    # functional/loss.py, functional/attention.py: functions only

    # The same, written into the tensor.
    add_, sub_, mul_, div_ = in_place(add), in_place(sub), in_place(mul), in_place(div)
    floor_divide_, remainder_, fmod_ = in_place(floor_divide), in_place(remainder), in_place(fmod)
    neg_, abs_, reciprocal_, square_ = in_place(neg), in_place(abs), in_place(reciprocal), in_place(square)
    lerp_, addcmul_, addcdiv_ = in_place(lerp), in_place(addcmul), in_place(addcdiv)
    pow_, sqrt_, rsqrt_ = in_place(pow), in_place(sqrt), in_place(rsqrt)
    exp_, exp2_, expm1_ = in_place(exp), in_place(exp2), in_place(expm1)
    log_, log1p_, log2_, log10_ = in_place(log), in_place(log1p), in_place(log2), in_place(log10)
    sin_, cos_, tan_ = in_place(sin), in_place(cos), in_place(tan)
    asin_, acos_, atan_, atan2_ = in_place(asin), in_place(acos), in_place(atan), in_place(atan2)
    sinh_, cosh_, erf_, erfc_ = in_place(sinh), in_place(cosh), in_place(erf), in_place(erfc)
    floor_, ceil_, trunc_ = in_place(floor), in_place(ceil), in_place(trunc)
    round_, sign_ = in_place(round), in_place(sign)
    clamp_, clip_, clamp_min_, clamp_max_ = in_place(clamp), in_place(clip), in_place(clamp_min), in_place(clamp_max)
    nan_to_num_, relu_, sigmoid_, tanh_ = in_place(nan_to_num), in_place(relu), in_place(sigmoid), in_place(tanh)
    logical_and_, logical_or_ = in_place(logical_and), in_place(logical_or)
    logical_xor_, logical_not_ = in_place(logical_xor), in_place(logical_not)
    bitwise_and_, bitwise_or_ = in_place(bitwise_and), in_place(bitwise_or)
    bitwise_xor_, bitwise_not_ = in_place(bitwise_xor), in_place(bitwise_not)
    cumsum_, cumprod_ = in_place(cumsum), in_place(cumprod)
    subtract_, multiply_, divide_, true_divide_ = sub_, mul_, div_, div_
    negative_, absolute_, fix_, arctan2_ = neg_, abs_, trunc_, atan2_
    arcsin_, arccos_, arctan_ = asin_, acos_, atan_
    eq_, ne_, lt_, le_, gt_, ge_ = in_place(eq), in_place(ne), in_place(lt), in_place(le), in_place(gt), in_place(ge)
    not_equal_, less_, less_equal_, greater_, greater_equal_ = ne_, lt_, le_, gt_, ge_
    addbmm_, addr_, addmm_, addmv_ = in_place(addbmm), in_place(addr), in_place(addmm), in_place(addmv)
    baddbmm_ = in_place(baddbmm)
    acosh_, asinh_, atanh_ = in_place(acosh), in_place(asinh), in_place(atanh)
    deg2rad_, rad2deg_, hypot_, sinc_ = in_place(deg2rad), in_place(rad2deg), in_place(hypot), in_place(sinc)
    xlogy_, logit_, frac_, sgn_ = in_place(xlogy), in_place(logit), in_place(frac), in_place(sgn)
    copysign_, heaviside_, nextafter_ = in_place(copysign), in_place(heaviside), in_place(nextafter)
    float_power_, ldexp_, gcd_, lcm_ = in_place(float_power), in_place(ldexp), in_place(gcd), in_place(lcm)
    bitwise_left_shift_, bitwise_right_shift_ = in_place(bitwise_left_shift), in_place(bitwise_right_shift)
    masked_fill_, index_add_, index_copy_ = in_place(masked_fill), in_place(index_add), in_place(index_copy)
    index_fill_, index_put_ = in_place(index_fill), in_place(index_put)
    scatter_, scatter_add_, tril_, triu_ = in_place(scatter), in_place(scatter_add), in_place(tril), in_place(triu)

    # ---- operators -------------------------------------------------------------------------------------------------

    __add__, __radd__ = _operator(add), _reflected(add)
    __sub__, __rsub__ = _operator(sub), _reflected(sub)
    __mul__, __rmul__ = _operator(mul), _reflected(mul)
    __truediv__, __rtruediv__ = _operator(div), _reflected(div)
    __floordiv__, __rfloordiv__ = _operator(floor_divide), _reflected(floor_divide)
    __mod__, __rmod__ = _operator(remainder), _reflected(remainder)
    __pow__, __rpow__ = _operator(pow), _reflected(pow)
    __lshift__, __rlshift__ = _operator(bitwise_left_shift), _reflected(bitwise_left_shift)
    __rshift__, __rrshift__ = _operator(bitwise_right_shift), _reflected(bitwise_right_shift)
    __and__, __rand__ = _operator(bitwise_and), _reflected(bitwise_and)
    __or__, __ror__ = _operator(bitwise_or), _reflected(bitwise_or)
    __xor__, __rxor__ = _operator(bitwise_xor), _reflected(bitwise_xor)
    __eq__, __ne__ = _operator(eq), _operator(ne)  # type: ignore[assignment]  # a Tensor, not a bool
    __lt__, __le__, __gt__, __ge__ = _operator(lt), _operator(le), _operator(gt), _operator(ge)
    __neg__, __pos__, __abs__, __invert__ = neg, positive, abs, elementwise.invert
    __iadd__ = _augmented(add, operator.iadd)
    __isub__ = _augmented(sub, operator.isub)
    __imul__ = _augmented(mul, operator.imul)
    __itruediv__ = _augmented(div, operator.itruediv)
    __ifloordiv__, __imod__, __ipow__ = in_place(floor_divide), in_place(remainder), in_place(pow)
    __iand__, __ior__, __ixor__ = in_place(bitwise_and), in_place(bitwise_or), in_place(bitwise_xor)

    __matmul__, __rmatmul__ = linalg.matmul, linalg.rmatmul

    __hash__ = object.__hash__

    # Last, since these names are types in the annotations above.

    def float(self) -> Tensor:
        """This tensor as float32."""
        return self.to(dtypes.float32)

    def int(self) -> Tensor:
        """This tensor as int32 (rounded towards zero)."""
        return self.to(dtypes.int32)

    def bool(self) -> Tensor:
        """This tensor as booleans: whether each element is not zero."""
        return self.to(dtypes.bool_)


def made(array: Any, requires_grad: bool = False) -> Tensor:
    """A new leaf tensor around an array, without a copy."""
    new = Tensor._result(array)
    if requires_grad:
        new.requires_grad = True
    return new


_OPERANDS = (Tensor, int, float, np.generic, np.ndarray)  # what may stand beside a tensor in an expression
