"""Count what a training step of a GPT launches on the GPU: `python -m tests.device.launches`.

The emulated GPU reports each kernel that CuPy launches. Products of matrices it does not report: each `@` in an op or
twin is one call of cuBLAS, so Python's own tracing counts those. Copies and fills of memory are no kernels and are not
counted.
"""

from __future__ import annotations

import dis
import functools
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OPS = str(ROOT / "tinygrad_edu/ops"), str(ROOT / "tinygrad_edu/kernels/cuda")
PHASES = ("forward", "backward", "update")
MATMUL = (dis.opmap["BINARY_OP"], [text for _, text in dis._nb_ops].index("@"))
LAUNCH = re.compile(r"cupy-on-cpu: (\S+) <<<")


def per_block(kernels: str) -> dict[str, Counter[str]]:
    """What one block adds to each phase of a step: launches by name. RuntimeError: nothing reports launches here."""
    one, two = (of_model(kernels, layers) for layers in (1, 2))
    return {phase: two[phase] - one[phase] for phase in PHASES}


@functools.cache
def of_model(kernels: str, layers: int) -> dict[str, Counter[str]]:
    """What each phase of a step launches for a whole model of so many blocks."""
    command = [sys.executable, __file__, str(layers)]
    environment = {**os.environ, "CUPY_ON_CPU_DEBUG": "2", "PYTHONPATH": str(ROOT), "TINYGRAD_EDU_KERNELS": kernels}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if run.returncode:
        raise AssertionError(run.stderr[-2000:])
    found: dict[str, Counter[str]] = {phase: Counter() for phase in PHASES}
    phase = ""
    for line in run.stderr.splitlines():
        if line.startswith("phase "):
            phase = line.split()[1]
        elif phase in found and (launch := LAUNCH.match(line)):
            found[phase][launch[1]] += 1
    if not found["forward"]:
        raise RuntimeError("the emulated GPU counts launches, and this GPU is another")
    for line in run.stdout.splitlines():
        phase, products = line.split()
        found[phase]["product"] += int(products)
    return found


def _products(call: Callable[[], Any]) -> tuple[Any, int]:
    """The result of a call, and how many products of matrices the ops computed in it."""
    count = 0

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal count
        if not frame.f_code.co_filename.startswith(OPS):
            return None
        frame.f_trace_opcodes = True
        at = frame.f_lasti
        count += event == "opcode" and tuple(frame.f_code.co_code[at : at + 2]) == MATMUL
        return trace

    sys.settrace(trace)
    try:
        return call(), count
    finally:
        sys.settrace(None)


def _child(layers: int) -> None:
    """Make two steps; say of the second on stderr where its phases begin, on stdout their products."""
    import tinygrad_edu as tg
    from gpt.config import GPTConfig
    from gpt.model import GPT

    model = GPT(GPTConfig(block_size=16, vocab_size=65, n_layer=layers, n_head=2, n_embd=32)).to("cuda")
    optimizer = model.configure_optimizers(0.1, 1e-3, (0.9, 0.95))
    ids = tg.randint(0, 65, (4, 16)).to("cuda")

    def phase(name: str, call: Callable[[], Any]) -> Any:
        print("phase", name, file=sys.stderr, flush=True)
        result, products = _products(call)
        print("phase none", file=sys.stderr, flush=True)
        if name in PHASES:
            print(name, products)
        return result

    def update() -> None:
        tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    for names in (("first",) * 3, PHASES):
        loss = phase(names[0], lambda: model(ids, ids)[1])
        phase(names[1], loss.backward)
        phase(names[2], update)
        optimizer.zero_grad()


def main() -> None:
    if sys.argv[1:]:
        return _child(int(sys.argv[1]))
    for kernels in ("reference", "auto"):
        for phase, launches in per_block(kernels).items():
            names = ", ".join(f"{n} {name}" for name, n in launches.most_common())
            print(f"{kernels:9} {phase:8} {launches.total():3}  {names}")
        print(f"{kernels:9} update of two blocks: {of_model(kernels, 2)['update'].total()}")


if __name__ == "__main__":
    main()
