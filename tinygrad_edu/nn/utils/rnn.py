"""Sequences of different lengths in one batch: padded to the longest, or packed without padding.

A packed batch holds the first elements of all sequences, then all second elements, and so on, with the longest
sequence first; so the sequences that are still running are always the first rows of a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ...creation import full
from ...functional.arguments import require_tensor
from ...functional.indexing import index_put
from ...functional.shape import cat
from ...tensor import Tensor


class _Fields(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Fields):
    """A packed batch of B sequences, as `pack_padded_sequence` and `pack_sequence` make it.

    data: (sum of the lengths, ...). batch_sizes: (T,), how many sequences have an element at each step.
    sorted_indices: (B,), which sequence of the batch each row is, or None if they were sorted; unsorted_indices:
    the inverse.
    """

    def __new__(
        cls, data: Any, batch_sizes: Tensor | None = None, sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:  # fmt: skip
        if batch_sizes is None:  # PackedSequence((data, batch_sizes))
            if not (isinstance(data, (list, tuple)) and len(data) == 2):
                raise AssertionError(f"PackedSequence: expected (data, batch_sizes), got {type(data).__name__}")
            data, batch_sizes = data
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """With its data converted as by `Tensor.to`; itself if nothing changes."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        indices = (None if i is None else i.to(data.device) for i in (self.sorted_indices, self.unsorted_indices))
        return PackedSequence(data, self.batch_sizes, *indices)

    def cpu(self) -> PackedSequence:
        """With its data on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = None) -> PackedSequence:
        """With its data on the GPU. RuntimeError: there is none to use."""
        return self.to("cuda" if device is None else device)

    def double(self) -> PackedSequence:
        """With its data as float64."""
        return self.to(dtype="float64")

    def half(self) -> PackedSequence:
        """With its data as float16."""
        return self.to(dtype="float16")

    def long(self) -> PackedSequence:
        """With its data as int64."""
        return self.to(dtype="int64")

    def short(self) -> PackedSequence:
        """With its data as int16."""
        return self.to(dtype="int16")

    def byte(self) -> PackedSequence:
        """With its data as uint8."""
        return self.to(dtype="uint8")

    @property
    def is_cuda(self) -> bool:
        """Whether its data is on a GPU."""
        return self.data.is_cuda

    # Last, since these names are types in the annotations above.

    def float(self) -> PackedSequence:
        """With its data as float32."""
        return self.to(dtype="float32")

    def int(self) -> PackedSequence:
        """With its data as int32."""
        return self.to(dtype="int32")


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """The permutation that undoes this one: inverse[permutation[i]] = i."""
    return None if permutation is None else permutation.argsort()


def _steps(tensor: Tensor, lengths: Any, steps: int) -> tuple[Any, Any]:
    """The step and the row of every element of a packed batch, in its order."""
    return (tensor._xp.arange(steps)[:, None] < lengths).nonzero()


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Pack a padded batch: leave out what lies beyond the lengths.

    input: (T, B, ...), or with batch_first (B, T, ...). lengths: one per sequence, decreasing unless
    enforce_sorted=False, which sorts them. RuntimeError: lengths that do not fit, or are zero.
    """
    require_tensor("pack_padded_sequence", "input", input)
    xp, shape = input._xp, tuple(input.shape)
    if input.ndim < 2:
        raise IndexError(f"pack_padded_sequence: expected an input of 2 or more dimensions, got shape {shape}")
    steps, batch = (shape[1], shape[0]) if batch_first else shape[:2]
    given = xp.asarray(getattr(lengths, "_array", lengths)).astype("int64")
    if given.ndim != 1:
        raise RuntimeError(f"pack_padded_sequence: 'lengths' should be 1D, one number per sequence, got {given.ndim}D")
    if input.numel() == 0:
        raise RuntimeError(f"Cannot pack empty tensors: pack_padded_sequence got an input of shape {shape}")
    if len(given) != batch:
        raise RuntimeError(f"Expected `len(lengths)` to be equal to batch_size, but got {len(given)} ({batch=})")
    if given.min() <= 0:
        raise RuntimeError(
            f"Length of all samples has to be greater than 0, but found {given.min()} in 'lengths'; leave such out"
        )
    if given.max() > steps:
        raise RuntimeError(f"pack_padded_sequence: the length {given.max()} is beyond the {steps} steps of {shape}")
    order = None
    if not enforce_sorted:
        order = xp.argsort(-given, kind="stable")
        given = given[order]
    elif (given[1:] > given[:-1]).any():
        raise RuntimeError(
            "`lengths` array must be sorted in decreasing order when `enforce_sorted` is True. Pass "
            f"enforce_sorted=False to have the sequences sorted; got {given.tolist()}"
        )
    step, row = _steps(input, given, int(given[0]))
    sequence = row if order is None else order[row]
    data = input[(sequence, step) if batch_first else (step, sequence)]
    sizes = input._result(xp.bincount(step).astype("int64"))
    return PackedSequence(data, sizes, None if order is None else input._result(order))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Undo `pack_padded_sequence`: the padded batch (T, B, ...), or with batch_first (B, T, ...), and the lengths.

    total_length: pad to this many steps. ValueError: the longest sequence has more.
    """
    sizes, order = sequence.batch_sizes._array, sequence.sorted_indices
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ValueError(
            "Expected total_length to be at least the length of the longest sequence in input, but got "
            f"{total_length=} and max sequence length being {len(sizes)}"
        )
    xp = sequence.data._xp
    lengths = (xp.arange(sizes[0]) < sizes[:, None]).sum(axis=0)
    step, row = _steps(sequence.data, lengths, len(sizes))
    if order is not None:
        row, lengths = order._array[row], lengths[sequence.unsorted_indices._array]  # type: ignore[union-attr]
    padded = _padded(sequence.data, step, row, (steps, len(lengths)), batch_first, padding_value)
    return padded, sequence.data._result(lengths)


def _padded(
    data: Tensor, step: Any, row: Any, shape: tuple[int, int], batch_first: bool, padding_value: float
) -> Tensor:
    """Element i of data at (step[i], row[i]) of a batch of this shape (T, B) filled with the padding value."""
    sizes, place = (shape[::-1], (row, step)) if batch_first else (shape, (step, row))
    padding = full((*sizes, *data.shape[1:]), padding_value, dtype=data.dtype, device=data.device)
    return index_put(padding, tuple(data._result(i) for i in place), data)


def pad_sequence(
    sequences: Tensor | Iterable[Tensor], batch_first: bool = False, padding_value: float = 0.0,
    padding_side: str = "right",
) -> Tensor:  # fmt: skip
    """Sequences of shapes (L_i, ...) as one batch (T, B, ...), or with batch_first (B, T, ...), T the longest length.

    padding_side: "right" to put the padding after the elements, "left" before. RuntimeError: no sequences, or their
    other sizes differ.
    """
    if not isinstance(sequences, Iterable):
        raise RuntimeError(f"pad_sequence: Expected iterable for input sequences, but got {type(sequences).__name__}")
    given = list(sequences)
    for i, x in enumerate(given):
        if not isinstance(x, Tensor):
            raise TypeError(f"pad_sequence: expected Tensor as element {i}, but got {type(x).__name__}")
        if not x.ndim:
            raise RuntimeError(f"pad_sequence: element {i} is a 0-d tensor, which is no sequence; use stack()")
    if not given:
        raise RuntimeError("pad_sequence: received an empty list of sequences")
    if padding_side not in ("left", "right"):
        raise RuntimeError(f"Expected padding_side to be one of left or right, but got {padding_side}.")
    lengths = [len(x) for x in given]
    steps, xp = max(lengths), given[0]._xp
    row = xp.repeat(xp.arange(len(given)), lengths)
    step = xp.concatenate([xp.arange(n) + (steps - n if padding_side == "left" else 0) for n in lengths])
    data = cat(given).to(given[0].dtype)
    return _padded(data, step, row, (steps, len(given)), batch_first, padding_value)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """Undo `pad_sequence`: the sequences of a padded batch without their padding."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    return [row[:n] for row, n in zip(rows, getattr(lengths, "_array", lengths), strict=True)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Pack sequences of shapes (L_i, ...), of decreasing length unless enforce_sorted=False."""
    return pack_padded_sequence(pad_sequence(sequences), [len(x) for x in sequences], enforce_sorted=enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Undo `pack_sequence`."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences, batch_first=True), batch_first=True)
