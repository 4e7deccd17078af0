"""`python -m tinygrad_edu.inspect step.json`: a saved trace as a page, or in another form that `Trace.save` knows."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .trace import load, writer

PROGRAM = "python -m tinygrad_edu.inspect"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, or 2 for a file that cannot be read or written."""
    parser = argparse.ArgumentParser(PROGRAM, description="Write a saved trace as a page that any browser opens.")
    parser.add_argument("trace", type=Path, help="a .json file that Trace.save wrote")
    parser.add_argument(
        "-o", "--out", type=Path, help="the file to write, whose ending says what; else the trace's name with .html"
    )
    options = parser.parse_args(args)
    out = options.out or options.trace.with_suffix(".html")
    try:
        writer(out)  # refuses a name before the trace is read
        load(options.trace).save(out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{out} is written, {out.stat().st_size:,} bytes; open it in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
