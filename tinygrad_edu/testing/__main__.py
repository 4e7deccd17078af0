"""`python -m tinygrad_edu.testing`: check every op, or some, against PyTorch and finite differences.

Exit status: 0 if all agree, 1 if something does not, 2 for a wrong option.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROGRAM = "python -m tinygrad_edu.testing"


@dataclass
class Options:
    """Compare every op with PyTorch, and its gradients with finite differences, and print a table.

    Errors are the worst over all samples, in ULP: units in the last place of the least precise dtype of a call. One
    ULP is the distance from the scale of an element to the next larger number. The scale is the size of the expected
    element; for sums it is at least that of the largest element of the array, for gradients also that of the largest
    cotangent, since where large terms cancel the rounding is that of the terms. The column gradcheck is the worst
    error against finite differences as a share of what is allowed: 1 would fail. A dash: nothing to compare.

    Without PyTorch its results are taken from golden files that come with the package; they hold fewer samples.
    """

    op: tuple[str, ...] = ()
    """Ops to check, such as softmax or nn.functional.gelu; all if none is named."""
    dtype: Literal["all", "float32", "float64"] = "all"
    """Dtype to run in. Finite differences need float64."""
    device: str = "cpu"
    """Device to run on."""
    seed: int = 0
    """Seed of the inputs and of the cotangents."""
    reference: Literal["auto", "torch", "golden"] = "auto"
    """Compare with PyTorch itself or with golden files; auto takes PyTorch where it is installed."""
    html: Path | None = None
    """Write the report as a page to this file too."""
    write_golden: bool = False
    """Write the golden files anew, from PyTorch, and stop."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    import tyro

    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False
    options = tyro.cli(Options, prog=PROGRAM, args=args, description=Options.__doc__)
    try:
        return _write_golden() if options.write_golden else _report(options)
    except (LookupError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _report(options: Options) -> int:
    from ..backend.device import as_device
    from . import report

    device = as_device(options.device)
    golden = options.reference == "golden"
    if not report.torch_is_here():
        if options.reference == "torch":
            raise ValueError("PyTorch is not installed; install torch, or leave out --reference torch")
        golden = True
    total = sum(len(members) for members in report.choose(options.op).values())
    dtypes = report.DTYPES if options.dtype == "all" else (options.dtype,)
    with _Progress(total) as progress:
        made = report.run(options.op, dtypes, str(device), options.seed, golden, progress)
    print(report.as_text(made))
    if options.html:
        _write(options.html, report.as_html(made))
        print(f"the page is {options.html}", file=sys.stderr)
    return 0 if made.passed else 1


def _write_golden() -> int:
    from . import golden, report

    if not report.torch_is_here():
        raise ValueError("golden values are made from PyTorch, which is not installed; install torch")
    say: Callable[[str], None] = lambda family: print(f"{family} written", file=sys.stderr)  # noqa: E731
    sizes = golden.write(say)
    print(f"{len(sizes)} files, {sum(sizes.values()):,} bytes, in {golden.FOLDER}")
    return 0


def _write(path: Path, text: str) -> None:
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


class _Progress:
    """A bar on stderr, or a line every few seconds where stderr is not a terminal."""

    def __init__(self, total: int) -> None:
        from tqdm import tqdm

        self.total, self.done, self.next_line = total, 0, time.monotonic() + 5
        self.bar = tqdm(total=total, file=sys.stderr, leave=False, unit="op") if sys.stderr.isatty() else None

    def __enter__(self) -> _Progress:
        return self

    def __call__(self, name: str) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.set_postfix_str(name, refresh=False)
            self.bar.update()
        elif time.monotonic() > self.next_line:
            self.next_line = time.monotonic() + 5
            print(f"{self.done} of {self.total} ops, now {name}", file=sys.stderr, flush=True)

    def __exit__(self, *exc: object) -> None:
        if self.bar is not None:
            self.bar.close()


if __name__ == "__main__":
    sys.exit(main())
