"""A small tensor framework whose every gradient can be read.

The names are PyTorch's: `import tinygrad_edu as torch` runs programs that stay within what is offered here.
"""

from .autograd import Function as Function
from .autograd import enable_grad as enable_grad
from .autograd import inference_mode as inference_mode
from .autograd import is_grad_enabled as is_grad_enabled
from .autograd import no_grad as no_grad
from .autograd import set_grad_enabled as set_grad_enabled

# functional/elementwise.py
from .functional.elementwise import add as add
from .functional.elementwise import div as div
from .functional.elementwise import exp as exp
from .functional.elementwise import mul as mul
from .functional.elementwise import sub as sub

# functional/activation.py
# functional/reduction.py
# functional/shape.py
# functional/indexing.py
# functional/sorting.py
# functional/linalg.py
# functional/normalization.py
# functional/loss.py, functional/attention.py
from .tensor import Tensor as Tensor
