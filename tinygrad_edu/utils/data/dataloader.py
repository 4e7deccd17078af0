"""PyTorch's place for what stands in `tinygrad_edu.data.loader`."""

from ...data.loader import *  # noqa: F403
