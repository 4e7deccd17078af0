"""Saving and loading: state dicts and whole checkpoints as safetensors files, never pickle.

A file holds the tensors under flattened names ("model.wte.weight"), and in its metadata, as JSON, the structure that
they hang in, with all numbers and strings. Any safetensors reader sees the tensors, and a safetensors file from
elsewhere loads as a dict. Nothing in a file is ever executed.

The JSON: numbers, strings, booleans, null and lists stand for themselves; {"dict": [[key, value], ...]},
{"tuple": [...]}, {"tensor": name} and {"float": "nan" | "inf" | "-inf"} for the rest.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .backend import dtypes, transfers
from .backend.device import CPU, address, as_device
from .tensor import Tensor, made

STRUCTURE = "tinygrad_edu.structure"  # the metadata entry that holds the JSON
VERSION = 1
MAX_DEPTH = 100

# safetensors' names of the dtypes; its files are little-endian.
_CODES = {"bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "int32": "I32", "int64": "I64",
          "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64"}  # fmt: skip
_DTYPES = {code: np.dtype(name).newbyteorder("<") for name, code in _CODES.items() if name != "bfloat16"}
_DTYPES["BF16"] = np.dtype("<u2")  # its bits
_DTYPES["BOOL"] = np.dtype("u1")


def save(obj: Any, f: str | os.PathLike[str] | BinaryIO) -> None:
    """Write nested dicts, lists and tuples of tensors, numbers, strings, booleans and None as a safetensors file.

    A path is written whole or not at all: the new file takes the place of the old one when all is on the disk.
    Tensors of the same memory (tied weights) are stored once and come back as one. Values alone are stored, not
    gradients or history.

    TypeError, ValueError: something else, or nested too deep. OSError: the disk is full, or the like; the old file
    is whole.
    """
    arrays, structure = _pack(obj)
    # "pt" says that the weights lie as in PyTorch; other readers expect the entry.
    metadata = {"format": "pt", STRUCTURE: json.dumps({"version": VERSION, "content": structure})}
    if isinstance(f, (str, os.PathLike)):
        with atomic_write(f) as file:
            _write(file, arrays, metadata)
    else:
        _write(f, arrays, metadata)


def load(f: str | os.PathLike[str] | BinaryIO, map_location: Any = None, *, weights_only: bool = True) -> Any:
    """Read what `save` wrote, or any safetensors file (as a dict of tensors). The tensors own their memory.

    map_location: the device to load to, by default the CPU. weights_only is accepted from PyTorch programs; no code is
    ever loaded.

    FileNotFoundError: no such file. ValueError: a pickle, or a file that is truncated, damaged or of another kind.
    """
    device = CPU if map_location is None else as_device(map_location)
    if isinstance(f, (str, os.PathLike)):
        name = str(f)
        _validate(Path(f), name)
        with open(f, "rb") as file:
            arrays, metadata = _read(file, name)
    else:
        name = str(getattr(f, "name", "the file"))
        data = f.read()
        if not isinstance(data, bytes):
            raise TypeError(
                f"load: expected a file opened for reading bytes ('rb'), but read() gave {type(data).__name__}"
            )
        _validate(data, name)
        arrays, metadata = _read(io.BytesIO(data), name)
    tensors = {label: made(transfers.to_device(array, device)) for label, array in arrays.items()}
    return _unpack(metadata[STRUCTURE], tensors, name) if STRUCTURE in metadata else tensors


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a binary file that takes the place of `path` if the block ends well; else `path` stays as it was.

    OSError: it could not be written (a full disk, a missing folder).
    """
    target = Path(os.path.realpath(path))  # a link stays, what it points to is replaced
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "the folder to write into does not exist; create it first", str(path))
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, target)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"{why}: not written, and what stood there before is whole", str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


# ---- the structure ---------------------------------------------------------------------------------------------------


def place_of(x: Tensor) -> tuple[Any, ...]:
    """Equal for tensors that show the same memory in the same way, such as tied weights."""
    array = x._array
    return address(array), array.shape, array.strides, array.dtype.str


def _pack(obj: Any) -> tuple[dict[str, Any], Any]:
    """The arrays in `obj` by name, and the JSON of what they hang in."""
    arrays: dict[str, Any] = {}
    named: dict[tuple[Any, ...], str] = {}  # the name of each piece of memory

    def tensor(x: Tensor, path: tuple[Any, ...]) -> Any:
        memory = place_of(x)
        if memory not in named:
            plain = ".".join(map(str, path)) or "tensor"
            plain = name = plain.encode("utf-8", "backslashreplace").decode("utf-8")  # lone surrogates are no UTF-8
            copies = 1
            while name in arrays or name == "__metadata__":
                copies += 1
                name = f"{plain}~{copies}"
            arrays[name] = x._array
            named[memory] = name
        return {"tensor": named[memory]}

    def node(x: Any, path: tuple[Any, ...]) -> Any:
        if len(path) > MAX_DEPTH:
            raise ValueError(f"save: nested more than {MAX_DEPTH} levels deep; does {_where(path[:5])} contain itself?")
        if isinstance(x, np.generic):
            x = x.item()
        if x is None or isinstance(x, (bool, int, str)):
            return x
        if isinstance(x, float):
            return float(x) if math.isfinite(x) else {"float": str(float(x))}
        if isinstance(x, Tensor):
            return tensor(x, path)
        if isinstance(x, dict):
            return {"dict": [[key(k, path), node(v, (*path, k))] for k, v in x.items()]}
        if isinstance(x, tuple):
            return {"tuple": [node(v, (*path, i)) for i, v in enumerate(x)]}
        if isinstance(x, list):
            return [node(v, (*path, i)) for i, v in enumerate(x)]
        hint = ""
        if isinstance(x, np.ndarray):
            hint = "; wrap the array in from_numpy()"
        elif hasattr(x, "state_dict"):
            hint = "; store its state_dict()"
        raise TypeError(
            f"save: {_where(path)} is a {type(x).__name__}, but only dicts, lists, tuples, tensors, numbers, strings, "
            f"booleans and None can be stored{hint}"
        )

    def key(k: Any, path: tuple[Any, ...]) -> Any:
        if k is not None and not isinstance(k, (bool, int, str)):
            raise TypeError(f"save: {_where(path)} has the key {k!r}, but keys must be strings, integers or None")
        return k

    return arrays, node(obj, ())


def _where(path: tuple[Any, ...]) -> str:
    return "the object" if not path else "object" + "".join(f"[{part!r}]" for part in path)


def _unpack(text: str, tensors: dict[str, Tensor], file: str) -> Any:
    """What `_pack` was given, from its JSON and the tensors by name."""
    used: set[str] = set()

    def fail(what: str) -> ValueError:
        return ValueError(f"{file} is damaged: {what}")

    def value(node: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise fail(f"its structure is nested more than {MAX_DEPTH} levels deep")
        if node is None or isinstance(node, (bool, int, float, str)):
            return node
        if isinstance(node, list):
            return [value(v, depth + 1) for v in node]
        [(kind, content)] = node.items() if len(node) == 1 else [("", None)]
        if kind == "tensor" and isinstance(content, str):
            if content not in tensors:
                raise fail(f"its structure names the tensor {content!r}, which it does not hold")
            used.add(content)
            return tensors[content]
        if kind == "float" and content in ("nan", "inf", "-inf"):
            return float(content)
        if kind == "tuple" and isinstance(content, list):
            return tuple(value(v, depth + 1) for v in content)
        if kind == "dict" and isinstance(content, list):
            return dict(entry(pair, depth) for pair in content)
        raise fail(f"its structure holds {str(node)[:60]!r}, which stands for nothing")

    def entry(pair: Any, depth: int) -> tuple[Any, Any]:
        if not isinstance(pair, list) or len(pair) != 2 or isinstance(pair[0], (list, dict)):
            raise fail(f"its structure holds the entry {str(pair)[:60]!r}, which is not [key, value]")
        return pair[0], value(pair[1], depth + 1)

    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fail(f"its structure is not JSON that can be read ({error})") from None
    if not isinstance(document, dict) or not {"version", "content"} <= document.keys():
        raise fail("its structure has no version and content")
    if document["version"] != VERSION:
        raise ValueError(
            f"{file} has structure version {document['version']!r}, but this version of tinygrad_edu reads {VERSION}; "
            "install a newer one"
        )
    result = value(document["content"], 0)
    if unused := tensors.keys() - used:
        raise fail(f"it holds tensors that its structure does not name, such as {min(unused)!r}")
    return result


# ---- the safetensors file --------------------------------------------------------------------------------------------


def _write(file: BinaryIO, arrays: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write the length of the header (8 bytes), the header in JSON, and the arrays one after another.

    Not by the library, whose writer takes a path only, reports a full disk as an error of its own kind, and leaves a
    file that other users cannot read.
    """
    order = sorted(arrays, key=lambda name: -arrays[name].itemsize)  # so each array is aligned to its item size
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        code = _CODES[array.dtype.name]
        header[name] = {"dtype": code, "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False).encode("utf-8")
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        array = transfers.to_host(arrays[name])
        array = array.view(np.uint16) if array.dtype.kind == "V" else array
        array = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
        file.write(array.reshape(-1).view(np.uint8).data)


def _validate(source: Path | bytes, name: str) -> None:
    """ValueError: not a whole safetensors file. The library checks lengths, offsets, shapes and dtypes."""
    from safetensors import SafetensorError, deserialize, safe_open

    try:
        if isinstance(source, bytes):
            deserialize(source)
        else:
            with safe_open(source, framework="numpy"):
                pass
    except SafetensorError as error:
        if isinstance(source, bytes):
            start = source[:4]
        else:
            with open(source, "rb") as file:
                start = file.read(4)
        if start == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
            raise ValueError(
                f"{name} is a PyTorch or pickle file; reading it can run code, so it is refused. Convert it once, "
                "where PyTorch is installed: safetensors.torch.save_file(torch.load(file, weights_only=True), new_file)"
            ) from None
        raise ValueError(
            f"{name} is not a whole safetensors file: it is truncated, damaged or of another format ({error})"
        ) from None


def _read(file: BinaryIO, name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The arrays, by name in the order of the header, and the metadata of a file that was validated."""
    length = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(length))
    metadata = header.pop("__metadata__", None) or {}
    arrays = {}
    for label, info in header.items():
        if info["dtype"] not in _DTYPES:
            raise ValueError(
                f"{name}: tensor {label!r} has dtype {info['dtype']}, which has no counterpart here; convert it to one "
                f"of {', '.join(sorted(_DTYPES))}"
            )
        try:
            array = np.empty(info["shape"], _DTYPES[info["dtype"]])
        except ValueError as error:
            raise ValueError(f"{name}: tensor {label!r} cannot have shape {info['shape']} ({error})") from None
        file.seek(8 + length + info["data_offsets"][0])
        if array.nbytes and file.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            raise ValueError(f"{name} became shorter while it was read")
        arrays[label] = _native(array, info["dtype"])
    return arrays, metadata


def _native(array: Any, code: str) -> Any:
    """The array in this machine's byte order, and in a dtype of ours."""
    if code == "BOOL":
        return np.asarray(array != 0)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return array.view(dtypes.bfloat16.dtype) if code == "BF16" else array
