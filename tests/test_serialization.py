"""Checkpoints as safetensors files: round trips, other readers and writers, failing disks and hostile files."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import stat
import struct
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import torch

import tinygrad_edu as te
from tinygrad_edu.optim import AdamW, lr_scheduler
from tinygrad_edu.serialization import STRUCTURE, atomic_write, load, save
from tinygrad_edu.tensor import Tensor, made

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]


def tensor(values, dtype="float32"):
    return made(np.asarray(values, dtype))


def assert_equal(found, expected):
    """The same types and values all the way down."""
    if isinstance(expected, Tensor):
        assert isinstance(found, Tensor) and found.dtype == expected.dtype and found.shape == expected.shape
        assert found._array.tobytes() == np.ascontiguousarray(expected._array).tobytes()
        assert found._array.flags.owndata or found._array.base.flags.owndata
        assert found._array.flags.writeable and not found.requires_grad
    elif isinstance(expected, dict):
        assert type(found) is dict and list(found) == list(expected)
        assert [type(k) for k in found] == [type(k) for k in expected]
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert isinstance(found, list if isinstance(expected, list) else tuple) and len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_equal(a, b)
    else:
        assert type(found) is type(expected) and repr(found) == repr(expected)


# ---- round trips -----------------------------------------------------------------------------------------------------

CONTENTS = {
    "nothing": {},
    "a tensor": tensor([1.0, 2.0]),
    "a list": [],
    "none": None,
    "numbers": [0, -1, 2**70, True, False, 0.1, -0.0, 1e-320, 1e308, 1.0, float("inf"), float("-inf"), float("nan")],
    "strings": ["", "zażółć gęślą", "日本語 😀", "\x00\n\\\"'", "\ud800 alone", "~" * 1000],
    "keys": {"a": 1, 3: 2, None: 3, True: 4, "3": 5, "": {"": tensor(1.0)}},
    "tuples": ((), (1,), ([2], ("x", (None,)))),
    "names that clash": {
        "a.b": tensor(1.0), "a": {"b": tensor(2.0)}, "__metadata__": tensor(3.0), "a.b~2": tensor(4.0),
        "\ud800": tensor(5.0), "\\ud800": tensor(6.0), 0: tensor(7.0), "0": tensor(8.0), "tensor": tensor(9.0),
    },
    "look like our own marks": {"tensor": "x", "dict": [["a", 1]], "float": {"float": "nan"}, "tuple": {"tuple": []}},
    "shapes": [tensor(np.arange(24).reshape(s)) for s in [(24,), (2, 3, 4), (24, 1, 1)]]
    + [tensor(np.zeros(s)) for s in [(), (0,), (3, 0, 2)]],
    "dtypes": {d: tensor([0, 1, 1], d) for d in DTYPES} | {d + "0": tensor(1, d) for d in DTYPES},
    "special values": tensor([np.nan, np.inf, -np.inf, -0.0, 1e-45]),
    "strided": [made(np.arange(12.0).reshape(3, 4).T), made(np.arange(12.0)[::2]), made(np.arange(6)[::-1])],
}  # fmt: skip


@pytest.mark.parametrize("name", CONTENTS)
def test_round_trip(name, tmp_path):
    save(CONTENTS[name], tmp_path / "x.safetensors")
    assert_equal(load(tmp_path / "x.safetensors"), CONTENTS[name])
    buffer = io.BytesIO()
    save(CONTENTS[name], buffer)
    buffer.seek(0)
    assert_equal(load(buffer), CONTENTS[name])


def test_a_whole_checkpoint(tmp_path):
    rng = np.random.default_rng(0)
    w = made(rng.standard_normal((3, 4)).astype("float32"), requires_grad=True)
    opt = AdamW([w], lr=0.1)
    schedule = lr_scheduler.OneCycleLR(opt, 0.5, total_steps=20)

    def train(steps):
        for _ in range(steps):
            w.grad = made(np.cos(w._array))
            opt.step()
            schedule.step()

    train(5)
    checkpoint = {
        "model": {"w": w}, "optimizer": opt.state_dict(), "schedule": schedule.state_dict(), "step": 5,
        "random": te.get_rng_state(), "best": float("inf"),
        "config": {"lr": 0.1, "name": "próba", "betas": (0.9, 0.99)},
    }  # fmt: skip
    path = tmp_path / "checkpoint.safetensors"
    save(checkpoint, str(path))
    train(10)

    loaded = load(str(path), map_location="cpu", weights_only=True)
    assert loaded["config"] == checkpoint["config"] and loaded["best"] == float("inf")
    expected = w._array.copy()
    w._array[...] = loaded["model"]["w"]._array
    te.set_rng_state(loaded["random"])
    fresh = AdamW([w])
    again = lr_scheduler.OneCycleLR(fresh, 0.5, total_steps=20)
    fresh.load_state_dict(loaded["optimizer"])
    again.load_state_dict(loaded["schedule"])
    opt, schedule = fresh, again
    train(10)
    assert np.array_equal(w._array, expected)


def test_shared_tensors_are_stored_once_and_come_back_as_one(tmp_path):
    wte = tensor(np.ones((100, 50)))
    state = {"wte.weight": wte, "lm_head.weight": wte.detach(), "half": made(wte._array[:50]), "copy": wte.clone()}
    path = tmp_path / "tied.safetensors"
    save(state, path)
    loaded = load(path)
    assert_equal(loaded, state)
    assert loaded["wte.weight"] is loaded["lm_head.weight"]
    assert len({id(x) for x in loaded.values()}) == 3
    assert set(safetensors.numpy.load_file(path)) == {"wte.weight", "half", "copy"}
    assert path.stat().st_size < 2.6 * 100 * 50 * 4


def test_numbers_of_numpy_and_subclasses_become_plain(tmp_path):
    class Name(str):
        pass

    path = tmp_path / "x.safetensors"
    save({"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": np.float64(0.1), "e": Name("x")}, path)
    assert_equal(load(path), {"a": 0.5, "b": 3, "c": True, "d": 0.1, "e": "x"})
    save(OrderedDict(b=1, a=tensor([1.0]).shape), path)
    assert_equal(load(path), {"b": 1, "a": (1,)})


def loop():
    x = {}
    x["self"] = [x]
    return x


def deep(n):
    x = []
    for _ in range(n):
        x = [x]
    return x


@pytest.mark.parametrize("content, error, message", [
    ({"a": [1, {2}]}, TypeError, r"object\['a'\]\[1\] is a set, but only dicts, lists, tuples"),
    ({"a": np.ones(2)}, TypeError, r"object\['a'\] is a ndarray.*from_numpy\(\)"),
    (object(), TypeError, "the object is a object"),
    ({"opt": AdamW([tensor(1.0)])}, TypeError, r"store its state_dict\(\)"),
    ({(1, 2): 3}, TypeError, r"the object has the key \(1, 2\)"),
    (1j, TypeError, "is a complex"),
    (deep(101), ValueError, "more than 100 levels"),
    (loop(), ValueError, r"does object\['self'\]\[0\]\['self'\]\[0\]\['self'\] contain itself"),
])  # fmt: skip
def test_what_cannot_be_stored_is_named_and_nothing_is_written(content, error, message, tmp_path):
    with pytest.raises(error, match=message):
        save(content, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_the_deepest_nesting_that_can_be_saved_can_be_loaded(tmp_path):
    save(deep(100), tmp_path / "x")
    assert_equal(load(tmp_path / "x"), deep(100))


# ---- other readers and writers ---------------------------------------------------------------------------------------


def test_the_library_reads_what_we_write(tmp_path):
    state = {d: tensor([[0, 1], [1, 1]], d) for d in DTYPES} | {
        "scalar": tensor(3.0),
        "empty": tensor(np.zeros((0, 2))),
    }
    path = tmp_path / "x.safetensors"
    save(state, path)
    found = safetensors.numpy.load_file(path)
    assert found.keys() == state.keys()
    for name, array in found.items():
        assert np.array_equal(array, state[name]._array) and array.dtype == state[name]._array.dtype
    assert torch.equal(safetensors.torch.load_file(path)["float32"], torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["format"] == "pt"


def test_arrays_in_the_file_are_aligned():
    buffer = io.BytesIO()
    save({"a": tensor([1], "int8"), "b": tensor([1.0], "float64"), "c": tensor([1, 0, 1], "bool")}, buffer)
    raw = buffer.getvalue()
    length = int.from_bytes(raw[:8], "little")
    assert length % 8 == 0
    for name, info in json.loads(raw[8 : 8 + length]).items():
        if name != "__metadata__":
            assert info["data_offsets"][0] % {"I8": 1, "F64": 8, "BOOL": 1}[info["dtype"]] == 0


def test_plain_files_of_others_load_as_dicts(tmp_path):
    path = tmp_path / "x.safetensors"
    state = {
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16), "w": torch.randn(3, 4), "n": torch.tensor(7),
        "bf": torch.tensor([[1.0, -3.140625], [float("inf"), 1e-30]], dtype=torch.bfloat16),
        "bf0": torch.tensor(2.5, dtype=torch.bfloat16), "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3, dtype=torch.bfloat16),
    }  # fmt: skip
    for metadata in (None, {"format": "pt", "note": "x"}):
        safetensors.torch.save_file(state, path, metadata)
        found = load(path)
        assert found.keys() == state.keys()
        for name, t in state.items():
            assert repr(found[name].dtype).split(".")[1] == str(t.dtype).split(".")[1] and found[name].shape == t.shape
            assert found[name].tolist() == t.tolist() and found[name]._array.flags.writeable


def test_map_location_names_a_device():
    buffer = io.BytesIO()
    save({}, buffer)
    with pytest.raises(RuntimeError, match="cuda"):
        load(buffer, map_location="nowhere:cuda")


# ---- failing disks ---------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "x"
    for i in range(3):
        save({"i": i}, path)
    assert load(path) == {"i": 2} and os.listdir(tmp_path) == ["x"]


@pytest.mark.parametrize("stage", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_whole(stage, tmp_path, monkeypatch):
    path = tmp_path / "x"
    save({"old": tensor(np.ones(1000))}, path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if stage != "write":
        monkeypatch.setattr(os, stage, full)
        with pytest.raises(OSError) as caught:
            save({"new": tensor(np.zeros(1000))}, path)
    else:
        with pytest.raises(OSError) as caught, atomic_write(path) as file:
            file.write(b"half of it")
            full()
    assert caught.value.errno == errno.ENOSPC
    assert "No space left on device: not written, and what stood there before is whole" in str(caught.value)
    assert str(path) in str(caught.value)
    assert os.listdir(tmp_path) == ["x"] and path.read_bytes() == before


LIMITED = """
import resource, sys, numpy as np
from tinygrad_edu.serialization import save
from tinygrad_edu.tensor import made
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    save({"w": made(np.zeros(100_000))}, sys.argv[1])
except OSError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes to run into")
def test_a_write_that_the_system_cuts_short(tmp_path):
    path = tmp_path / "x"
    save({"old": 1}, path)
    run = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True)
    assert run.stdout.startswith("OSError [Errno 27] File too large: not written"), run
    assert load(path) == {"old": 1} and os.listdir(tmp_path) == ["x"]


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "x"
    save({"old": 1}, path)
    with pytest.raises(KeyboardInterrupt), atomic_write(path) as file:
        file.write(b"new")
        raise KeyboardInterrupt
    assert load(path) == {"old": 1} and os.listdir(tmp_path) == ["x"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="folder to write into does not exist; create it.*missing"):
        save({}, tmp_path / "missing" / "x")
    with pytest.raises(FileNotFoundError, match="missing"):
        load(tmp_path / "missing")
    with pytest.raises(OSError):
        load(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these permissions nor such links")
def test_permissions_and_links(tmp_path):
    path = tmp_path / "x"
    old = os.umask(0o022)
    try:
        save({"i": 1}, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    link = tmp_path / "link"
    link.symlink_to(path)
    save({"i": 2}, link)
    assert link.is_symlink() and load(path) == {"i": 2}


# ---- files that are not what they seem -------------------------------------------------------------------------------


def raw(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def info(dtype="F32", shape=(2,), begin=0, end=8):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def with_structure(text, tensors=None, data=b""):
    return raw({"__metadata__": {STRUCTURE: text}} | (tensors or {}), data)


def content(x):
    return with_structure(json.dumps({"version": 1, "content": x}))


HOSTILE = {
    "empty": (b"", "not a whole safetensors file"),
    "three bytes": (b"abc", "not a whole safetensors file"),
    "text": (b"First Citizen: before we proceed any further, hear me speak", "not a whole safetensors file"),
    "header length of 2^63": (struct.pack("<Q", 2**63) + b"{}", "not a whole"),
    "header longer than the file": (struct.pack("<Q", 1000) + b"{}", "not a whole"),
    "header not JSON": (raw(b"{nonsense"), "not a whole"),
    "header a list": (raw(b"[]"), "not a whole"),
    "deep header": (raw(b'{"a":' * 100_000), "not a whole"),
    "deep metadata": (raw(b'{"__metadata__":' + b"[" * 100_000), "not a whole"),
    "truncated": (raw({"a": info(shape=[4], end=16)}, b"0" * 8), "not a whole"),
    "too long": (raw({"a": info()}, b"0" * 9), "not a whole"),
    "overlap": (raw({"a": info(), "b": info(begin=4, end=12)}, b"0" * 12), "not a whole"),
    "gap": (raw({"a": info(), "b": info(begin=12, end=20)}, b"0" * 20), "not a whole"),
    "backwards": (raw({"a": info(begin=8, end=0)}, b"0" * 8), "not a whole"),
    "huge shape": (raw({"a": info(shape=[2**62, 2**62])}, b"0" * 8), "not a whole"),
    "huge empty shape": (raw({"a": info(shape=[0, 2**62, 2**62], end=0)}), r"tensor 'a' cannot have shape \[0"),
    "65 axes": (raw({"a": info(shape=[1] * 65, end=4)}, b"0" * 4), "tensor 'a' cannot have shape"),
    "negative shape": (raw({"a": info(shape=[-2])}, b"0" * 8), "not a whole"),
    "wrong size": (raw({"a": info(shape=[3])}, b"0" * 8), "not a whole"),
    "unknown dtype": (raw({"a": info(dtype="F99")}, b"0" * 8), "not a whole"),
    "dtype of no use": (raw({"a": info(dtype="U32")}, b"0" * 8), "tensor 'a' has dtype U32.*one of BF16"),
    "twice": (raw(b'{"a":%s,"a":%s}' % ((json.dumps(info()).encode(),) * 2), b"0" * 16), "not a whole"),
    "structure not JSON": (with_structure("{"), "not JSON that can be read"),
    "structure too deep for JSON": (with_structure("[" * 100_000), "not JSON that can be read|levels deep"),
    "structure a list": (with_structure("[]"), "no version and content"),
    "structure of the future": (with_structure('{"version": 2, "content": 1}'), "structure version 2.*reads 1"),
    "structure nested": (content(json.loads("[" * 102 + "]" * 102)), "more than 100 levels deep"),
    "a number of many digits": (with_structure('{"version": 1, "content": %s}' % ("9" * 5000)), "can be read"),
    "a missing tensor": (content({"tensor": "w"}), "names the tensor 'w', which it does not hold"),
    "a tensor without a name": (content({"tensor": ["w"]}), "stands for nothing"),
    "an unknown mark": (content({"object": "os.system"}), "stands for nothing"),
    "two marks": (content({"tuple": [], "dict": []}), "stands for nothing"),
    "a tuple of nothing": (content({"tuple": 3}), "stands for nothing"),
    "a dict of nothing": (content({"dict": {"a": 1}}), "stands for nothing"),
    "an odd float": (content({"float": "1e5"}), "stands for nothing"),
    "an entry of three": (content({"dict": [["a", 1, 2]]}), "not \\[key, value\\]"),
    "a list as key": (content({"dict": [[["a"], 1]]}), "not \\[key, value\\]"),
    "an unnamed tensor": (
        with_structure('{"version": 1, "content": 1}', {"w": info()}, b"0" * 8), "does not name, such as 'w'"
    ),
    "PyTorch": (None, "can run code, so it is refused.*safetensors.torch.save_file"),
    "old PyTorch": (None, "can run code, so it is refused"),
    "pickle": (pickle.dumps({"a": 1}), "can run code, so it is refused"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_with_their_name(name, tmp_path):
    data, message = HOSTILE[name]
    path = tmp_path / "suspect.safetensors"
    if data is None:
        torch.save({"a": torch.ones(2)}, path, _use_new_zipfile_serialization=name == "PyTorch")
        data = path.read_bytes()
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match=message) as caught:
        load(io.BytesIO(data))
    assert "the file" in str(caught.value)


def test_every_truncation_and_many_damages_are_refused_or_read_as_data(tmp_path):
    buffer = io.BytesIO()
    save({"w": tensor([[1.0, 2.0]]), "n": [1, {"x": (2.5, None)}]}, buffer)
    whole = buffer.getvalue()
    for n in range(len(whole)):
        with pytest.raises(ValueError):
            load(io.BytesIO(whole[:n]))
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        try:
            load(io.BytesIO(bytes(damaged)))
            outcomes.add("read")
        except ValueError:
            outcomes.add("refused")
    assert outcomes == {"read", "refused"}


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "x"
    save({"w": tensor(np.ones(100))}, path)
    size = path.stat().st_size
    monkeypatch.setattr("tinygrad_edu.serialization._validate", lambda *args: os.truncate(path, size - 8))
    with pytest.raises(ValueError, match="x became shorter while it was read"):
        load(path)


def test_booleans_are_true_or_false_whatever_the_bytes():
    found = load(io.BytesIO(raw({"a": info(dtype="BOOL", shape=[4], end=4)}, b"\x00\x01\x02\xff")))
    assert found["a"]._array.tobytes() == b"\x00\x01\x01\x01"


def test_files_opened_as_text_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"reading bytes \('rb'\), but read\(\) gave str"):
        load(io.StringIO("x"))
