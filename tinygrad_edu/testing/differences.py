"""Where this framework differs from PyTorch on purpose: the one list that the compatibility page and tests read."""

from __future__ import annotations

EVERYWHERE: list[str] = []
OF: dict[str, str] = {}
