"""Twins for the CPU, compiled by Numba (`pip install "tinygrad_edu[fast]"`); loaded by `kernels` when first needed."""

from . import compiling, threads

threads.start()
compiling.start()
