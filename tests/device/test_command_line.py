"""The command line on a GPU: a run is trained, goes on, and writes text."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gpt import cli
from tinygrad_edu.backend import machine

SMALL = "--n-layer 1 --n-head 2 --n-embd 16 --block-size 8 --batch-size 4 --warmup-iters 0 --eval-iters 1"


def command(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `gpt` prints on stdout; it must end well."""
    status = cli.main(line.split())
    said = capsys.readouterr()
    assert status == 0, said.err
    return said.out


def test_a_run_is_trained_goes_on_and_writes_text(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("to be, or not to be: that is the question\n" * 40)
    out = command(f"train --device cuda --dataset text.txt --out-dir run --max-iters 2 {SMALL}", capsys)
    assert out.rstrip().endswith("-m gpt sample run --prompt ... --device cuda")
    command("train --resume run --max-iters 4", capsys)
    assert Path("run", "metrics.csv").read_text().splitlines()[-1].startswith("4,")
    texts = [command(f"sample run --prompt to --max-new-tokens 8 {more}", capsys) for more in ("--device cuda", "")]
    assert texts[0] == texts[1] and len(texts[0]) == len("to") + 8 + len("\n")


def test_the_extra_of_this_machine_is_found_before_anything_is_installed():
    script = Path(machine.__file__)
    bare = [sys.executable, "-I", "-S", "-c", f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"]
    done = subprocess.run(bare, capture_output=True, text=True)
    found = machine.find_gpu()
    assert found is not None and (done.stdout, done.stderr) == (f"{found.extra}\n", "")
