"""Feeding frames to a fit: what a model reads, on its device or gathered from disk, in seeded minibatches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bayescg.inference.functional import seeded
from bayescg.inference.model import Model

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["Feed", "inputs_of", "relaxation"]

_RESIDENT_BYTES = 2 * 2**30


class Feed:
    """The inputs of a data set, and minibatches of them.

    Inputs are computed once and kept on the device when they fit in 2 GiB; otherwise each batch is gathered and
    computed when it is asked for, so that memory stays flat.

    Parameters
    ----------
    model : Model
    frames : Frames
    batch_size : int
    device : torch.device
    seed : int
    weight : Tensor, optional
        What each frame counts, ``(n,)``, or ``(members, n)`` for refits.
    prefetch : int
        Batches to read ahead where the inputs are not kept.
    """

    def __init__(
        self,
        model: Model,
        frames: Frames,
        batch_size: int,
        device: torch.device,
        seed: int,
        *,
        weight: Tensor | None = None,
        prefetch: int = 2,
    ):
        self.model, self.frames, self.device, self.seed = model, frames, device, seed
        self.weight, self.prefetch = None if weight is None else weight.to(device), prefetch
        self.size = min(batch_size, len(frames))
        first = inputs_of(model, frames, np.arange(1), device)
        resident = len(frames) * first[0].numel() * first.element_size() <= _RESIDENT_BYTES
        self._inputs = inputs_of(model, frames, None, device) if resident else None
        self._order = torch.arange(len(frames))
        self._epoch = -1

    def indices(self, step: int) -> Tensor:
        """Frames of the minibatch of a step, ``(B,)``: a pure function of seed and step, each epoch a new order."""
        n, per_epoch = len(self.frames), len(self.frames) // self.size
        if self.size == n:
            return self._order
        epoch, position = divmod(step, per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            self._order, self._epoch = torch.randperm(n, generator=generator), epoch
        return self._order[position * self.size : (position + 1) * self.size]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of the minibatch of a step, on the device and in the model's type.

        ``"x"`` always, ``(B, ...)``; ``"forces"``, ``(B, atoms, 3)``, ``"energy"`` and ``"labels"``, ``(B,)``, where
        the frames have them; ``"weight"``, ``(B,)`` or ``(members, B)``, where the feed was given any.
        """
        index = self.indices(step)
        found = {"x": self.inputs(index)}
        for name in ("forces", "energy", "labels"):
            if getattr(self.frames, name) is not None:
                values = torch.as_tensor(self.frames.gather(index.numpy(), name))
                found[name] = values.to(self.device, None if name == "labels" else found["x"].dtype)
        if self.weight is not None:
            found["weight"] = self.weight[..., index.to(self.device)].contiguous()
        return found

    def inputs(self, index: Tensor) -> Tensor:
        """What the model reads of the given frames, ``(B, ...)``."""
        if self._inputs is not None:
            return self._inputs[index.to(self.device)]
        return inputs_of(self.model, self.frames, index.numpy(), self.device)

    def close(self) -> None:
        """Stop reading ahead; the feed can be used again."""


def inputs_of(
    model: Model, frames: Frames, index: np.ndarray | None, device: torch.device, chunk: int = 16_384
) -> Tensor:
    """The model's inputs of some frames (None: all), computed in chunks, without gradients.

    Parameters
    ----------
    model : Model
    frames : Frames
    index : ndarray or None
    device : torch.device
    chunk : int
        Frames at a time.
    """
    index = np.arange(len(frames)) if index is None else index
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad():
        parts = [
            model.inputs(torch.as_tensor(frames.gather(index[i : i + chunk])).to(device=device, dtype=dtype))
            for i in range(0, len(index), chunk)
        ]
    return torch.cat(parts)


def relaxation(model: Model, frames: Frames, limit: int = 100_000) -> float:
    """Statistical inefficiency of the slowest of the inputs' ten leading principal components; 1 without a time axis.

    Parameters
    ----------
    model : Model
    frames : Frames
    limit : int
        At most the first so many frames are read.
    """
    if frames.order is None or len(frames) < 10:
        return 1.0
    from bayescg.data import statistical_inefficiency

    n = min(limit, len(frames))
    y = inputs_of(model, frames, np.arange(n), next(model.parameters()).device).flatten(1).double().cpu()
    y = (y - y.mean(0)) / y.std(0).clamp_min(1e-12)
    with seeded(0):  # the algorithm is a random one
        _, _, axes = torch.pca_lowrank(y, q=min(10, *y.shape), niter=4)
    return float(statistical_inefficiency((y @ axes).numpy(), frames.blocks(len(frames))[:n]))
