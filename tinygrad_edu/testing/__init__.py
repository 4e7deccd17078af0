"""Checks of gradients and values, for the framework's own operations and for the reader's."""

from .check import CheckError as CheckError
from .check import CheckResult as CheckResult
from .check import check as check
from .compare import assert_close as assert_close
from .exercises import exercise as exercise
from .gradcheck import GradcheckError as GradcheckError
from .gradcheck import gradcheck as gradcheck
from .gradcheck import gradgradcheck as gradgradcheck
