"""PyTorch's place for what stands in `tinygrad_edu.data.sampler`."""

from ...data.sampler import *  # noqa: F403
