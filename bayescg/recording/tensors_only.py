"""Programs that leave torch are found before a fit, at the line where they do."""

import traceback
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from bayescg.errors import ModelError

__all__ = ["TensorsOnly"]

_LEAVING = (torch.Tensor.numpy, torch.Tensor.__array__)
_TORCH = Path(torch.__file__).parent


class TensorsOnly(TorchFunctionMode):
    """Inside, a tensor that is made a NumPy array is refused; what custom operators do within is their own affair.

    NumPy knows nothing of gradients, nor of the tensors that stand for many when programs are traced and batched.

    Raises
    ------
    ModelError
        Names the file, the line and its text.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _LEAVING:
            frames = [f for f in traceback.extract_stack()[:-1] if _TORCH not in Path(f.filename).parents]
            raise ModelError(
                f"{frames[-1].filename}, line {frames[-1].lineno} ({frames[-1].line}): a model's programs cannot use "
                "NumPy on a tensor, which would lose its gradient; use torch (torch.exp instead of np.exp)"
            )
        return func(*args, **(kwargs or {}))
