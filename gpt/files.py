"""Files: whole-or-nothing writes, JSON with a format version, and data files that installed packages ship."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tinygrad_edu import serialization


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Like `serialization.atomic_write`: whole or not at all. A missing folder is made."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with serialization.atomic_write(path) as file:
        yield file


def write_json(path: str | os.PathLike[str], format: str, version: int, fields: dict[str, Any]) -> None:
    """Write `fields` as a JSON object that says its format and version; whole or not at all."""
    document = {"format": format, "version": version, **fields}
    with atomic_write(path) as file:
        file.write(json.dumps(document, ensure_ascii=False, indent=1).encode("utf-8") + b"\n")


def read_json(path: str | os.PathLike[str], format: str, version: int) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises FileNotFoundError, and ValueError for a file that is damaged, of another format or another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {format} file at {path}")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: a {format} file is JSON, and this is not ({error})") from None
    if not isinstance(document, dict) or document.get("format") != format:
        raise ValueError(f'{path} is not a {format} file: it has no "format": "{format}"')
    if document.get("version") != version:
        raise ValueError(
            f"{path} has version {document.get('version')!r} of the {format} format, expected "
            f"{version}: read it with the release of this package that wrote it"
        )
    return document


def sha256_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: str | os.PathLike[str], expected: str) -> None:
    """Raise ValueError unless the file's SHA-256 is `expected`."""
    found = sha256_of(path)
    if found != expected:
        raise ValueError(f"{path} is damaged or another edition: its SHA-256 is {found}, expected {expected}")


def package_files(package: str, pattern: str) -> list[Path]:
    """Files of an installed package whose path ends as `pattern`, sorted; the package's code is not run.

    Raises FileNotFoundError if the package is not installed or has no such file.
    """
    try:
        distribution = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(f"the package is not installed: pip install {package}") from None
    listed = [Path(str(file.locate())) for file in distribution.files or () if file.match(pattern)]
    found = sorted(path for path in listed if path.is_file())
    if not found:
        raise FileNotFoundError(f"{package} {distribution.version} is installed but ships no {pattern}")
    return found
