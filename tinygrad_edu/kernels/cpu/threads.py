"""The threads of the CPU's kernels: Numba's, which the matrix products share.

There are as many as OMP_NUM_THREADS, OPENBLAS_NUM_THREADS or NUMBA_NUM_THREADS says (the first that is set), else as
many as cores; `tinygrad_edu.set_num_threads` changes the number. Of Numba's thread pools OpenMP's comes first: the
others were often seen to leave a core idle. Its threads do not survive a fork, so a forked child runs the readable ops.

A thread that waits for others keeps its core busy for a while, as waking it takes time. GNU's OpenMP does so so long
that, where other programs want the cores too, the thread waited for does not get one: beside four of them, on two
cores, a step took 300 ms instead of 130. Waiting for a fraction of a millisecond costs 2 % when it is alone.
"""

from __future__ import annotations

import contextlib
import importlib
import os

import numba

from ... import dispatch, kernels
from . import sharing


def start() -> None:
    """Choose the thread pool, unless the user has, and the number of threads."""
    if not {"NUMBA_THREADING_LAYER", "NUMBA_THREADING_LAYER_PRIORITY"} & set(os.environ):
        numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]
    _wait_briefly()
    named = (os.environ.get(name, "") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))
    wanted = kernels.threads or next((int(n) for n in named if n.isdigit()), None)
    if wanted:
        set_number(wanted)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=dispatch.forget_twins)


SPINS = 4000  # turns of the loop in which a thread waits, before it sleeps


def _wait_briefly() -> None:
    """Load GNU's OpenMP with this setting, unless the user has chosen one; it reads it once."""
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        return
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    with contextlib.suppress(ImportError):  # Numba may have another pool
        importlib.import_module("numba.np.ufunc.omppool")
    del os.environ["GOMP_SPINCOUNT"]  # other programs that this one starts keep their own


def number() -> int:
    """How many threads kernels run on."""
    return int(sharing.POOL[1])


def set_number(n: int) -> None:
    """Let kernels run on n threads, or on all that there are if those are fewer."""
    sharing.POOL[1] = max(1, min(n, numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(number())
