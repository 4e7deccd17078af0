"""Devices, data types and random bits: the ground that everything else stands on.

Only this package and `kernels/` may name an array library of a device other than the CPU.
"""

from .memory import keep_freed_memory

keep_freed_memory()
