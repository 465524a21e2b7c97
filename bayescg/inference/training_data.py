"""What a fit learns from: the frames it trains on, what each counts, and those held out."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.data import Frames, Pairs, Stretches, evenly, seen_by_blocks
from bayescg.errors import DataError
from bayescg.feeding.feed import Feed, observed, relaxation
from bayescg.inference.uncertainty import block_weights
from bayescg.modelling.model import Model
from bayescg.recording.functional import Params, mixed_seed, seeded

__all__ = ["TrainingData"]


@dataclass(frozen=True)
class TrainingData:
    """Frames of a fit, or pairs or stretches of frames.

    Attributes
    ----------
    train : Frames, Pairs or Stretches
        Those trained on.
    inefficiency : float
        Their statistical inefficiency.
    weight : Tensor
        What each counts, ``(n,)``, or ``(members, n)`` for refits.
    blocks : int
        Nearly independent blocks that the weights of refits are random for; 0 where there are no refits.
    feed : Feed
    doubts : list of str
        What the model found wrong with them.
    probe, held_out : tuple of (dict of str to Tensor, Tensor) or None
        Inputs and weights of some of those trained on, and of those held out, whose losses are compared.
    """

    train: Frames | Pairs | Stretches
    inefficiency: float
    weight: Tensor
    blocks: int
    feed: Feed
    doubts: list[str]
    probe: tuple[Params, Tensor] | None
    held_out: tuple[Params, Tensor] | None

    def rows(self, index: Tensor) -> Params:
        """Fields of a batch of some of the frames, and what these count."""
        return {**self.feed.rows(index), "weight": self.weight[..., index.to(self.weight.device)]}

    @classmethod
    def read(
        cls, model: Model, frames: Frames | Pairs | Stretches, settings: dict[str, Any], device: torch.device
    ) -> TrainingData:
        """Divide frames, let the model take its sizes and scales from those trained on, and weigh them."""
        train, test, seed = frames, None, settings["seed"]
        if settings["validation"] > 0:
            train, test = frames.split(blocks=20, test=settings["validation"], seed=seed)
            if test.weights is not None and not np.asarray(test.weights).any():
                raise DataError(
                    f"the {len(test)} frames that validation={settings['validation']:g} holds out have no weight; "
                    "leave frames of weight 0 out, or use validation=0"
                )
        with seeded(mixed_seed(seed, 0)), warnings.catch_warnings(record=True) as doubts:
            warnings.simplefilter("always")
            model.setup(train)  # and perhaps build its networks
        for doubt in doubts:
            warnings.warn(doubt.message, stacklevel=2)
        model.to(device)
        inefficiency = relaxation(model, train)
        paths = isinstance(train, Pairs | Stretches)
        shared = train.overlap if paths and model.inefficiency(train) is None else inefficiency
        weight, blocks = _weights(train, inefficiency, shared, settings["members"], seed)
        weight = weight.to(device, next((p.dtype for p in model.parameters()), torch.float32))
        feed = Feed(model, train, settings["batch_size"], device, seed, weight=weight)
        probe = held_out = None
        if test is not None:
            probe, held_out = (
                _inputs_and_weights(model, train, 1024, device),
                _inputs_and_weights(model, test, 4096, device),
            )
        words = [str(doubt.message) for doubt in doubts if issubclass(doubt.category, UserWarning)]
        return cls(train, inefficiency, weight, blocks, feed, words, probe, held_out)


def _weights(
    train: Frames | Pairs | Stretches, inefficiency: float, shared: float, members: int | None, seed: int
) -> tuple[Tensor, int]:
    """What each frame counts, one in `shared`, and the number of blocks that refits weigh at random."""
    weight = _importance(train)
    # uneven weights leave fewer effective frames (Kish), as correlation does
    weight = weight / weight.square().mean() / shared
    if members is None:
        return weight, 0
    # five inefficiencies a block make neighbouring blocks nearly independent; never fewer than ten blocks
    apart = len(train) / (train.overlap if isinstance(train, Stretches) else 1)
    length = 1 if inefficiency == 1 else max(1, min(math.ceil(5 * inefficiency), int(apart / 10)))
    blocks = torch.as_tensor(np.asarray(train.blocks(length)))
    random = block_weights(blocks, members - 1, seed, seen_by_blocks(inefficiency, length))
    return weight * torch.cat([torch.ones(1, len(train)), random]), len(torch.unique(blocks))


def _inputs_and_weights(
    model: Model, frames: Frames | Pairs | Stretches, most: int, device: torch.device
) -> tuple[Params, Tensor]:
    """Those of at most so many frames, evenly spaced."""
    index = evenly(frames, most)
    return observed(model, frames, index, device), _importance(frames)[index].to(device)


def _importance(frames: Frames | Pairs | Stretches) -> Tensor:
    """Importance weights with mean 1, ``(n,)``."""
    if frames.weights is None:
        return torch.ones(len(frames))
    weight = torch.as_tensor(np.asarray(frames.weights, dtype=np.float64))
    return (weight / weight.max() / (weight / weight.max()).mean()).float()
