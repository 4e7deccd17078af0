"""Mutants that compute the same as the original, each with the reason. `mutants.py` runs them and checks it."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str, str], str] = {}  # (function, original, mutated) -> reason
