"""The example of a model, prepared for checks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bayescg.contract.outcomes import Fault
from bayescg.feeding.feed import observed
from bayescg.inference.fitted import Fit
from bayescg.inference.objectives import Program
from bayescg.inference.run import fit
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, check_programs, fresh_copy
from bayescg.recording.functional import Params, seeded
from bayescg.recording.recorded import Tensors

__all__ = ["Case"]

_DRAWS = 64  # of a model without frames


class Case:
    """A model prepared as `fit` prepares it, at parameters moved off any special starting point.

    Parameters
    ----------
    model_class : type
    seed : int
    quick : bool
        Start neither the compiler nor another process.
    """

    def __init__(self, model_class: type[Model], seed: int, quick: bool):
        self.original, self.frames, _ = model_class.example()
        if not isinstance(self.original, model_class):
            raise Fault(f"example() gives a {type(self.original).__name__} in place of a {model_class.__name__}")
        self.seed, self.quick, self.total = seed, quick, _DRAWS if self.frames is None else len(self.frames)
        self.model, tensors = self.prepared(torch.float32)
        with seeded(seed):
            self.names = check_programs(self.model, Batch(**tensors, total=self.total))

    def prepared(self, dtype: torch.dtype) -> tuple[Model, Tensors]:
        """Model with fresh, slightly moved weights, and a batch of all frames, or of as many draws."""
        model = fresh_copy(self.original)
        if self.frames is not None:
            model.setup(self.frames)
        with seeded(self.seed), torch.no_grad():
            model.reset()
            for p in model.parameters():
                p.add_(0.05 * torch.randn_like(p))
        model.to(dtype)
        if self.frames is None:
            return model, {"index": torch.arange(self.total)}
        tensors = observed(model, self.frames, None, torch.device("cpu"))
        return model, {name: v.to(dtype) if v.is_floating_point() else v for name, v in tensors.items()}

    def program(self, dtype: torch.dtype = torch.float64) -> tuple[Program, Params, Tensors]:
        """Model and guide as one program, its parameters, and a batch of all frames, each of weight one."""
        model, tensors = self.prepared(dtype)
        schedule = model.schedule(100, None, self.frames is not None)
        program = Program(model, self.names, schedule=schedule)
        params = {k: v.detach().clone() for k, v in program.named_parameters()}
        if self.frames is None:
            return program, params, tensors
        return program, params, {**tensors, "weight": torch.ones(self.total, dtype=dtype)}

    def fit(self, frames: Any = None, **settings: Any) -> Fit:
        """Short fit without a held-out part."""
        defaults = {"steps": 50, "validation": 0.0, "uncertainty": "none", "compile": "off", "learning_rate": 1e-2}
        return fit(
            self.original, self.frames if frames is None else frames, **{**defaults, "seed": self.seed, **settings}
        )

    def positions(self, fit: Fit) -> Tensor:
        """A few of the frames, or of those that a fit without frames generates."""
        if self.frames is None:
            return fit.generate(8)[0]
        frames = getattr(self.frames, "frames", self.frames)  # of pairs
        return torch.as_tensor(frames.gather(list(range(min(8, len(frames))))))
