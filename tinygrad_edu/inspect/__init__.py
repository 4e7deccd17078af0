"""See, step through and question the computation graph of a real model.

with inspect.trace() as t:
    _, loss = model(x, y)
    loss.backward()
print(t.summary())
"""

from .compare import Comparison as Comparison
from .compare import compare as compare
from .compare import torch_trace as torch_trace
from .explain import Explanation as Explanation
from .explain import explain as explain
from .health import Health as Health
from .health import health as health
from .receipt import Receipt as Receipt
from .receipt import receipt as receipt
from .record import BackwardRecord as BackwardRecord
from .record import CallRecord as CallRecord
from .record import GradientRecord as GradientRecord
from .record import InputRecord as InputRecord
from .record import MachineRecord as MachineRecord
from .record import OpRecord as OpRecord
from .record import ParameterRecord as ParameterRecord
from .record import SavedRecord as SavedRecord
from .record import SourceLine as SourceLine
from .record import ValueRecord as ValueRecord
from .recorder import graph as graph
from .recorder import trace as trace
from .steps import walk as walk
from .trace import Trace as Trace
from .trace import load as load
