"""Token files and batches: the right windows, exact resume, files larger than memory, damage refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import gpt.data
import tinygrad_edu as tg
from gpt.data import TokenBatches, TokenFile, open_tokens, prepare_tokens, split_text, write_tokens
from gpt.texts import find_text, load_text
from gpt.tokenizers import ByteTokenizer, CharTokenizer, Tokenizer, make_tokenizer

TEXT = "Zażółć gęślą jaźń.\n\nAll:\nWe know't, we know't.\n  Speak, speak!\n" * 20
TOKENS = np.arange(1000, dtype=np.uint16) * 7 % 101


def seeded(seed: int) -> tg.Generator:
    return tg.Generator().manual_seed(seed)


def draw(batches: TokenBatches, n: int) -> list[list]:
    return [[x.tolist(), y.tolist()] for (x, y), _ in zip(batches, range(n), strict=False)]


# ---- batches ----


def test_a_batch_is_windows_and_their_next_tokens_at_the_places_that_randint_draws() -> None:
    batches = TokenBatches(TOKENS, 5, 8, generator=seeded(3))
    expected = seeded(3)
    for _ in range(4):
        places = tg.randint(0, len(TOKENS) - 8, (5,), generator=expected).tolist()
        x, y = next(batches)
        assert x.dtype == y.dtype == tg.int64
        assert tuple(x.shape) == tuple(y.shape) == (5, 8)
        assert x.tolist() == [TOKENS[i : i + 8].tolist() for i in places]
        assert y.tolist() == [TOKENS[i + 1 : i + 9].tolist() for i in places]


def test_every_place_can_be_drawn_and_none_beyond() -> None:
    tokens = np.arange(12, dtype=np.uint32)
    starts = {row[0] for x, _ in draw(TokenBatches(tokens, 16, 8), 20) for row in x}
    assert starts == {0, 1, 2, 3}
    shortest = TokenBatches(tokens[:9], 2, 8)
    assert draw(shortest, 1) == [[[list(range(8))] * 2, [list(range(1, 9))] * 2]]


def test_batches_own_their_memory() -> None:
    tokens = TOKENS.astype(np.int64)
    x, y = next(TokenBatches(tokens, 2, 4))
    before = x.tolist(), y.tolist()
    tokens[:] = 0
    x.numpy()[:] = -1
    assert y.tolist() == before[1] and before[0] != x.tolist()


def test_the_generator_alone_decides_and_none_means_one_of_its_own() -> None:
    assert draw(TokenBatches(TOKENS, 3, 4), 2) == draw(TokenBatches(TOKENS, 3, 4, generator=seeded(0)), 2)
    assert draw(TokenBatches(TOKENS, 3, 4, generator=seeded(1)), 2) != draw(TokenBatches(TOKENS, 3, 4), 2)
    tg.manual_seed(5)
    expected = tg.rand(3).tolist()
    tg.manual_seed(5)
    draw(TokenBatches(TOKENS, 3, 4), 2)
    assert tg.rand(3).tolist() == expected


def test_a_restored_state_goes_on_with_the_same_batches() -> None:
    batches = TokenBatches(TOKENS, 3, 4, generator=seeded(9))
    draw(batches, 7)
    state = json.loads(json.dumps(batches.state_dict()))
    rest = draw(batches, 5)
    resumed = TokenBatches(TOKENS, 3, 4, generator=seeded(1))
    draw(resumed, 2)
    resumed.load_state_dict(state)
    assert draw(resumed, 5) == rest
    resumed.load_state_dict(state)
    assert draw(resumed, 5) == rest


@pytest.mark.parametrize(
    "state", [{}, {"generator": 10**15}, {"generator": "zz"}, {"generator": "00"}, {"generator": None}]
)
def test_a_state_that_is_none_is_refused_and_changes_nothing(state: dict) -> None:
    batches, same = TokenBatches(TOKENS, 3, 4), TokenBatches(TOKENS, 3, 4)
    with pytest.raises(ValueError, match="not a state of TokenBatches"):
        batches.load_state_dict(state)
    assert draw(batches, 2) == draw(same, 2)


def test_in_order_gives_every_window_once_and_draws_no_random_number() -> None:
    tokens = np.arange(23, dtype=np.uint16)
    batches = TokenBatches(tokens, 2, 5)
    state = batches.state_dict()
    got = [(x.tolist(), y.tolist()) for x, y in batches.in_order()]
    assert [len(x) for x, _ in got] == [2, 2]
    assert [row for x, _ in got for row in x] == [list(range(i, i + 5)) for i in (0, 5, 10, 15)]
    assert [row for _, y in got for row in y] == [list(range(i + 1, i + 6)) for i in (0, 5, 10, 15)]
    assert batches.state_dict() == state
    assert [len(x) for x, _ in TokenBatches(tokens[:16], 2, 5).in_order()] == [2, 1]
    assert [len(x) for x, _ in TokenBatches(tokens[:15], 2, 5).in_order()] == [2]


def test_batches_can_be_put_on_a_device() -> None:
    x, y = next(TokenBatches(TOKENS, 2, 4, device="cpu"))
    assert str(x.device) == str(y.device) == "cpu"


@pytest.mark.parametrize("length", [0, 1, 8])
def test_a_text_shorter_than_a_block_is_refused(length: int) -> None:
    with pytest.raises(
        ValueError, match=rf"has {length} tokens, and block_size 8 needs at least 9: use a longer"
    ):
        TokenBatches(TOKENS[:length], 2, 8)


@pytest.mark.parametrize(
    "tokens, batch_size, block_size, reason",
    [
        (TOKENS.reshape(10, 100), 2, 8, r"tokens are integers of shape \(N,\), got uint16 \(10, 100\)"),
        (TOKENS.astype(float), 2, 8, r"got float64 \(1000,\)"),
        (TOKENS, 0, 8, "batch_size 0 and block_size 8 must be 1 or more"),
        (TOKENS, 2, 0, "batch_size 2 and block_size 0 must be 1 or more"),
    ],
)
def test_wrong_arguments_are_refused(
    tokens: np.ndarray, batch_size: int, block_size: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        TokenBatches(tokens, batch_size, block_size)


@pytest.mark.parametrize("bad", [101, -1])
def test_a_token_outside_the_vocabulary_is_named_with_its_place(bad: int) -> None:
    tokens = TOKENS[:9].astype(np.int32)
    tokens[6] = bad
    with pytest.raises(ValueError, match=rf"token {bad} at position 6 is outside the vocabulary, \[0, 101\)"):
        next(TokenBatches(tokens, 2, 8, n_vocab=101))
    tokens[6] = 100
    next(TokenBatches(tokens, 2, 8, n_vocab=101))


# ---- the split ----


def test_the_split_is_nanogpts(data_dir: Path) -> None:
    text = load_text(data_dir / "tinyshakespeare.txt")
    train, val = split_text(text)
    assert train == text[: int(len(text) * 0.9)] and train + val == text
    if len(text) == 1_115_394:
        assert (len(train), len(val)) == (1_003_854, 111_540)


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_split_leaves_something_on_both_sides(fraction: float) -> None:
    with pytest.raises(ValueError, match="val_fraction is between 0 and 1"):
        split_text(TEXT, fraction)


# ---- token files ----


@pytest.mark.parametrize("kind", ["char", "byte", "gpt2"])
def test_a_token_file_holds_the_ids_of_the_text(tmp_path: Path, kind: str) -> None:
    tokenizer = make_tokenizer(kind, TEXT)
    written = write_tokens(tmp_path / "new" / "t.bin", TEXT, tokenizer)
    opened = open_tokens(tmp_path / "new" / "t.bin", tokenizer)
    for file in (written, opened):
        assert file.tokens.tolist() == tokenizer.encode(TEXT)
        assert isinstance(file.tokens, np.memmap) and not file.tokens.flags.writeable
        assert (file.n_vocab, file.tokenizer_sha256) == (tokenizer.n_vocab, tokenizer.sha256)
        assert (file.start, file.stop) == (0, len(TEXT))
    assert np.fromfile(written.path, dtype="<u2").tolist() == tokenizer.encode(TEXT)
    assert sorted(p.name for p in written.path.parent.iterdir()) == ["t.bin", "t.bin.json"]


def test_a_vocabulary_above_65536_is_written_in_32_bits(tmp_path: Path) -> None:
    text = "".join(map(chr, range(0x10000, 0x10000 + 65_537)))
    file = write_tokens(tmp_path / "t.bin", text, CharTokenizer(text))
    assert file.tokens.dtype == np.uint32
    assert file.path.stat().st_size == 4 * len(text)
    assert file.tokens[-1] == 65_536


@pytest.mark.parametrize("kind", ["char", "byte", "gpt2"])
@pytest.mark.parametrize("size", [1, 13, 500])
def test_a_text_in_chunks_gives_the_same_files_as_the_whole(tmp_path: Path, kind: str, size: int) -> None:
    tokenizer = make_tokenizer(kind, TEXT)
    chunks = [TEXT[i : i + size] for i in range(0, len(TEXT), size)]
    whole, parts = (
        prepare_tokens(TEXT, tokenizer, tmp_path / "a"),
        prepare_tokens(chunks, tokenizer, tmp_path / "b"),
    )
    for one, other, part in zip(whole, parts, split_text(TEXT), strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
        assert one.tokens.tolist() == tokenizer.encode(part)
        assert (one.text_sha256, one.start, one.stop) == (other.text_sha256, other.start, other.stop)
    assert (whole[0].stop, whole[1].stop) == (whole[1].start, len(TEXT))
    once = write_tokens(tmp_path / "c.bin", iter(chunks), tokenizer)
    assert once.tokens.tolist() == tokenizer.encode(TEXT)
    assert once.text_sha256 == whole[0].text_sha256


def test_a_real_text_goes_to_files_and_back(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt.texts.CHUNK_BYTES", 100_000)
    source = find_text(data_dir / "tinyshakespeare.txt")
    tokenizer = make_tokenizer("gpt2")
    train, val = prepare_tokens(source, tokenizer, tmp_path)
    assert tokenizer.decode(train.tokens) + tokenizer.decode(val.tokens) == source.read()
    assert train.tokens.tolist() == tokenizer.encode(split_text(source.read())[0])
    assert (
        train.text_sha256 == source.sha256
    )  # the file has LF line ends, so both hashes are of the same bytes
    x, y = next(TokenBatches(train.tokens, 4, 64, n_vocab=train.n_vocab))
    assert tokenizer.decode(x[0])[1:] in source.read()


def test_writing_takes_memory_for_a_chunk_not_for_the_text(tmp_path: Path) -> None:
    line = "Before we proceed any further, hear me speak.\n"

    class Long:
        def __iter__(self) -> Iterator[str]:
            for _ in range(200):
                yield line * 1000

    tokenizer = ByteTokenizer()
    tracemalloc.start()
    train, val = prepare_tokens(Long(), tokenizer, tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    n_bytes = 200_000 * len(line)
    assert len(train.tokens) + len(val.tokens) == n_bytes
    assert peak < n_bytes / 10


def test_files_of_the_same_text_are_kept_and_others_are_not(tmp_path: Path) -> None:
    def times(text: str, tokenizer: Tokenizer, **options: float) -> list[int]:
        for path in tmp_path.glob("*.bin"):
            os.utime(path, ns=(1, 1))
        return [file.path.stat().st_mtime_ns for file in prepare_tokens(text, tokenizer, tmp_path, **options)]

    char = CharTokenizer.from_text(TEXT)
    assert 1 not in times(TEXT, char)
    assert times(TEXT, char) == [1, 1]
    assert 1 not in times(TEXT[1:] + "Z", char)
    assert 1 not in times(TEXT[1:] + "Z", ByteTokenizer())
    assert 1 not in times(TEXT[1:] + "Z", ByteTokenizer(), val_fraction=0.2)
    (tmp_path / "val.bin").write_bytes(b"cut")
    assert times(TEXT[1:] + "Z", ByteTokenizer(), val_fraction=0.2)[0] == 1
    assert open_tokens(tmp_path / "val.bin").stop == len(TEXT)


def test_chunks_that_can_be_read_once_are_refused_for_a_split(tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match="can be read only once, and a split needs two passes: give a str, a list"
    ):
        prepare_tokens(iter([TEXT]), ByteTokenizer(), tmp_path)


@pytest.mark.parametrize("text", ["", "a", []])
def test_a_text_without_tokens_is_refused(tmp_path: Path, text: str | list[str]) -> None:
    with pytest.raises(ValueError, match="train.bin is empty: a token file holds at least one token"):
        prepare_tokens(text, ByteTokenizer(), tmp_path)
    assert list(tmp_path.iterdir()) == []


# ---- damage ----


@pytest.fixture
def file(tmp_path: Path) -> TokenFile:
    return write_tokens(tmp_path / "t.bin", TEXT, ByteTokenizer())


def describe(file: TokenFile, **changes: object) -> None:
    about = file.path.with_name("t.bin.json")
    about.write_text(json.dumps(json.loads(about.read_text()) | changes))


def test_a_token_file_cut_short_or_grown_is_refused(file: TokenFile) -> None:
    whole = file.path.read_bytes()
    for content in (whole[:-2], whole[:-1], b"", whole + b"\0\0"):
        file.path.write_bytes(content)
        with pytest.raises(
            ValueError, match=f"has {len(content)} bytes, expected {len(whole) // 2} tokens of 2 bytes"
        ):
            open_tokens(file.path)


def test_a_missing_half_of_the_pair_is_named(file: TokenFile) -> None:
    file.path.rename(file.path.with_name("other.bin"))
    with pytest.raises(
        FileNotFoundError, match="t.bin.json is there, but the token file .*t.bin is not: write it"
    ):
        open_tokens(file.path)
    with pytest.raises(FileNotFoundError, match="there is no tinygrad_edu tokens file at .*other.bin.json"):
        open_tokens(file.path.with_name("other.bin"))


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"format": "other"}, "is not a tinygrad_edu tokens file"),
        ({"version": 9}, "has version 9 of .*, expected 1"),
        ({"dtype": "float64"}, "is damaged .see dtype and count"),
        ({"dtype": ["uint16"]}, "is damaged .see dtype"),
        ({"count": -4}, "is damaged .see dtype and count"),
        ({"count": True}, "is damaged .see count"),
        ({"count": 10**30}, "expected 10+ tokens"),
        ({"n_vocab": "256", "stop": None}, "is damaged .see n_vocab, stop"),
    ],
)
def test_a_damaged_description_is_refused(file: TokenFile, changes: dict, reason: str) -> None:
    describe(file, **changes)
    with pytest.raises(ValueError, match=f"t.bin.* {reason}"):
        open_tokens(file.path)


def test_another_tokenizer_is_refused(file: TokenFile) -> None:
    with pytest.raises(
        ValueError, match=r"was not written by CharTokenizer\(n_vocab=2\): load the tokenizer that did"
    ):
        open_tokens(file.path, CharTokenizer("ab"))


def test_a_failure_while_writing_leaves_the_old_file_whole(file: TokenFile) -> None:
    def failing() -> Iterator[str]:
        yield "new text"
        raise OSError("the source broke off")

    with pytest.raises(OSError, match="the source broke off"):
        write_tokens(file.path, failing(), ByteTokenizer())
    with pytest.raises(ValueError, match="'n' at position 0"):
        write_tokens(file.path, ["ab", "new text"][1:], CharTokenizer("ab"))
    assert open_tokens(file.path).tokens.tolist() == ByteTokenizer().encode(TEXT)
    assert sorted(p.name for p in file.path.parent.iterdir()) == ["t.bin", "t.bin.json"]


def test_an_old_description_never_describes_a_new_file(
    file: TokenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gpt.data, "write_json", crash)
    with pytest.raises(KeyboardInterrupt):
        write_tokens(file.path, TEXT[::-1], ByteTokenizer())
    with pytest.raises(FileNotFoundError, match="there is no tinygrad_edu tokens file"):
        open_tokens(file.path)
