"""What a model's programs are given: a batch of frames."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from bayescg.errors import ModelError

__all__ = ["Batch"]


@dataclass(frozen=True)
class Batch:
    """A batch of B frames out of N, or of pairs of frames a lag time apart.

    Attributes
    ----------
    x : Tensor or None
        What the programs read, ``(B, ...)``: the model's `inputs` of the positions. None where frames are to be
        generated: ``pyro.sample(..., obs=batch.x)`` then draws them. Of stretches of trajectories ``(B, length, ...)``,
        NaN after the end of a shorter one.
    y : Tensor or None
        The same of the later frame of each pair, `x` being the earlier; None where a model learns from frames.
    momenta, later_momenta : Tensor or None
        Flat momenta of `x` and of `y`, ``(B, dim)``, where the frames have any.
    lag : Tensor or None
        Time from `x` to `y` of each pair, ``(B,)``.
    labels, forces, energy, commitments : Tensor or None
        Class labels ``(B,)`` (-1 where not known), forces, energies ``(B,)`` (NaN where not known), and of the shots of
        each frame how many reached each region, ``(B, regions)``; of the same frames.
    window : Tensor or None
        Of umbrella sampling, the window that each frame or pair was simulated in, ``(B,)``.
    beta : Tensor or None
        Inverse temperature that each configuration of `x` is of, ``(B,)``, in units of the system's own, where a
        schedule trains at several at once.
    weight : Tensor or None
        What each frame or pair counts, ``(B,)``: importance weight divided by the statistical inefficiency; None for 1.
    index : Tensor or None
        Which frames or pairs of the data set these are, ``(B,)``.
    total : int
        N, the number of frames or pairs of the whole data set.
    stage : str
        Of a fit that trains a model part by part, the present part (`Schedule.stage`); empty where all of it is meant.
    """

    x: Tensor | None = None
    y: Tensor | None = None
    momenta: Tensor | None = None
    later_momenta: Tensor | None = None
    lag: Tensor | None = None
    labels: Tensor | None = None
    forces: Tensor | None = None
    energy: Tensor | None = None
    commitments: Tensor | None = None
    window: Tensor | None = None
    beta: Tensor | None = None
    weight: Tensor | None = None
    index: Tensor | None = None
    total: int = 0
    stage: Any = ""  # a string, which a type checker would have to tell apart from tensors in Batch(**tensors)

    def __post_init__(self) -> None:
        if self.total < 1:
            raise ModelError(f"a batch needs total >= 1, the number of frames of the data set, not {self.total}")
        if self.x is not None and len(self.x) < 1:
            raise ModelError("the batch holds no frames")

    def __len__(self) -> int:
        """Number of frames in this batch."""
        counted = self.x if self.x is not None else self.index
        return self.total if counted is None else len(counted)

    @contextmanager
    def plate(self, name: str) -> Iterator[None]:
        """Plate over the frames: scaled from the batch to all N frames, each frame with its weight.

        Examples
        --------
        >>> import pyro.distributions as dist
        >>> batch = Batch(x=torch.zeros(4, 2), total=100)
        >>> def model(batch):
        ...     with batch.plate("frames"):
        ...         pyro.sample("x", dist.Normal(0.0, 1.0).expand([2]).to_event(1), obs=batch.x)
        >>> poutine.trace(model).get_trace(batch).nodes["x"]["scale"]
        25.0
        """
        n = len(self)
        subsample = self.index if self.index is not None else torch.arange(n)
        with pyro.plate(name, self.total, subsample=subsample, dim=-1):
            if self.weight is None:
                yield
            else:
                with poutine.scale(scale=self.weight):
                    yield

    def generate(self, n: int) -> "Batch":
        """Batch of `n` frames to be generated instead of observed."""
        return replace(self, x=None, y=None, weight=None, index=None, total=n)
