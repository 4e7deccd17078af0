"""What the benchmarks share: processes that take turns, a watch on other work, the machine's description, result files.

Libraries are compared in processes of their own that work one at a time, in turn, so that a change of the machine's
speed meets all of them and no library's threads spin beside another's. What other programs used of the machine
meanwhile is measured, and a round that they disturbed is not counted.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
BUSY = 0.06  # the share of the machine that other work may use during a counted round
THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
BLAS_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # they bind NumPy's products to the kernels of one CPU


def arguments(parser: argparse.ArgumentParser, quick: dict[str, Any], argv: list[str] | None = None) -> Any:
    """The parsed command line, with the options that all benchmarks have. --quick sets the values of `quick`."""
    parser.add_argument("--quick", action="store_true", help="as little as proves that it works; times mean nothing")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads of each contestant")
    parser.add_argument("--busy", type=float, default=BUSY, help="share of the machine that other work may use")
    parser.add_argument("--keep-blas-settings", action="store_true", help=f"keep {' and '.join(BLAS_SETTINGS)}")
    if "--quick" in (sys.argv[1:] if argv is None else argv):
        parser.set_defaults(busy=float("inf"), threads=1, **quick)
    args = parser.parse_args(argv)
    dropped = [name for name in BLAS_SETTINGS if name in os.environ and not args.keep_blas_settings]
    for name in dropped:
        value = os.environ.pop(name)
        say(f"{name}={value} is left out: it binds NumPy's BLAS to other kernels (--keep-blas-settings keeps it)")
    os.environ.update({name: str(args.threads) for name in THREAD_COUNTS})  # contestants inherit them
    return args


def say(line: str) -> None:
    """A line for the person who waits."""
    print(line, file=sys.stderr, flush=True)


def progress(line: str) -> None:
    """The same, in the place of the last one where the output is a terminal."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)


class Contestant:
    """A process of one of these programs that answers requests: `program --work ARGUMENTS`, ending in `serve`."""

    def __init__(self, name: str, program: str, work: Sequence[str], env: dict[str, str] | None = None) -> None:
        self.name = name
        self.cpu = self.wall = 0.0  # of the visits
        self.process = subprocess.Popen(
            [sys.executable, program, "--work", *work],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **(env or {})},
        )  # fmt: skip

    def ask(self, request: Any) -> Any:
        """Its answer, as JSON gives it. SystemExit: it ended instead."""
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with status {self.process.wait()}; its error is printed above")
        return json.loads(line)

    def cpu_seconds(self) -> float:
        """CPU time that the process has used so far."""
        return cpu_seconds(self.process.pid)

    def peak_mb(self) -> float:
        """The most memory that it has held at once; NaN where the system does not tell."""
        lines = _read(f"/proc/{self.process.pid}/status").splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), float("nan"))

    def has_loaded(self, library: str) -> bool:
        """Whether it uses the shared library whose name begins so; True where the system does not tell."""
        maps = _read(f"/proc/{self.process.pid}/maps")
        return not maps or f"/{library}." in maps

    def end(self) -> None:
        assert self.process.stdin and self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


C = TypeVar("C", bound=Contestant)


@contextlib.contextmanager
def contestants(of: Iterable[C]) -> Iterator[list[C]]:
    """These processes, ended afterwards, also after an error."""
    started: list[C] = []
    try:
        for c in of:
            started.append(c)
        yield started
    finally:
        for c in started:
            c.end()


def serve(answer: Callable[[Any], Any]) -> None:
    """The life of a contestant's process: answer each line of standard input. What else is printed goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)


class Watch:
    """What other work used of the machine within a `with` block: `others`, a share; `seconds` is its duration."""

    seconds = own = others = 0.0

    def __init__(self, own: Callable[[], float]) -> None:
        self._own = own

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), machine_busy(), self._own() + time.process_time()

    def __enter__(self) -> Watch:
        self._start = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, busy, self.own = (b - a for a, b in zip(self._start, self._now(), strict=True))
        self.others = max(0.0, busy - self.own) / (self.seconds * (os.cpu_count() or 1))


def visit(one: Contestant, everyone: Sequence[Contestant], ask: Callable[[], list[float]], at_least: float) -> Any:
    """Ask one contestant until its seconds add up to `at_least`: these seconds, and the watch that was kept.

    The system counts CPU time in ticks of 10 ms, so a visit of less than a few tenths of a second cannot be judged.
    """
    time.sleep(0.1)  # the threads of the one before have stopped spinning by then
    cpu = one.cpu_seconds()
    seconds: list[float] = []
    with Watch(lambda: sum(c.cpu_seconds() for c in everyone)) as watch:
        while not seconds or sum(seconds) < at_least:
            seconds += ask()
    one.cpu += one.cpu_seconds() - cpu
    one.wall += watch.seconds
    return seconds, watch


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far, in ticks of 10 ms; 0 where the system does not tell."""
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def machine_busy() -> float:
    """CPU seconds that all processes have used since the start of the machine; 0 where the system does not tell."""
    fields = _read("/proc/stat").split("\n", 1)[0].split()[1:]
    if not fields:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(f) for f in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def children_cpu() -> float:
    """CPU seconds of the processes that were started and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine(args: Any) -> dict[str, Any]:
    """What is measured on: the machine, the versions, the commit, and how the processes are set."""
    models = [line for line in _read("/proc/cpuinfo").splitlines() if line.startswith("model name")]
    versions = {}
    for name in ("numpy", "numba", "torch"):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "cpu": models[0].split(":", 1)[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version(), **versions,
        "blas": _blas(), "threads": args.threads, "commit": _commit(), "date": time.strftime("%Y-%m-%d"),
        "busy_allowed": None if args.quick else args.busy,
    }  # fmt: skip


def describe(machine: dict[str, Any]) -> str:
    """The same in a sentence."""
    versions = ", ".join(f"{name} {machine[key]}" for key, name in LIBRARIES.items() if key in machine)
    allowed = machine["busy_allowed"]
    rule = f"more than {allowed:.0%} other work rejects a round" if allowed else "**a quick run: times mean nothing**"
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {versions}, BLAS {machine['blas']}, "
        f"{machine['threads']} threads, commit {machine['commit']}, {machine['date']}; {rule}."
    )


LIBRARIES = {"python": "Python", "numpy": "NumPy", "numba": "Numba", "torch": "PyTorch"}


def _blas() -> str:
    """The BLAS that NumPy uses in a process started now, and the kind of CPU that its kernels are for."""
    program = "import numpy, threadpoolctl, json; print(json.dumps(threadpoolctl.threadpool_info()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    found = [library for library in json.loads(done.stdout) if library["user_api"] == "blas"]
    names = [f"{b['internal_api']} {b['version']} {b.get('architecture') or ''}".strip() for b in found]
    return ", ".join(names) or "unknown"


def _commit() -> str:
    def git(*command: str) -> str:
        done = subprocess.run(["git", *command], cwd=ROOT, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!benchmarks/results", ":!*.md")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + (" with changes" if changed else "")


def save(path: Path, order: Iterable[str], measured_on: dict[str, Any], entries: dict[str, Any]) -> dict[str, Any]:
    """Put these entries, with what they were measured on, into the file beside those that it has. Returns all.

    order: the names of all entries that there can be; others are dropped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {**load(path), **{name: {"machine": measured_on, **entry} for name, entry in entries.items()}}
    merged = {name: found[name] for name in order if name in found}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=path.name, delete=False) as file:
        file.write(json.dumps(merged, indent=1) + "\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    return merged


def load(path: Path) -> dict[str, Any]:
    """The entries of a results file; none where there is no file."""
    return json.loads(path.read_text()) if path.exists() else {}


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def seconds_text(seconds: float) -> str:
    """Three significant digits with the unit that suits: 1.23 s, 45.6 ms, 7.89 µs."""
    for unit, scale in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * scale >= 1 or unit == "µs":
            return f"{np.format_float_positional(seconds * scale, precision=3, fractional=False, trim='-')} {unit}"
    raise AssertionError("unreachable")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
