"""`python -m tinygrad_edu.kernels` compiles the kernels of the CPU now, for example while a container is built."""

from .cpu import compiling

compiling.prepare()
print(f"The kernels are in {compiling.cache_folder() or 'no folder, as none can be written'}")
