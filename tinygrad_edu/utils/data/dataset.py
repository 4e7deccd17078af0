"""PyTorch's place for what stands in `tinygrad_edu.data.dataset`."""

from ...data.dataset import *  # noqa: F403
