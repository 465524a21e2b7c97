"""Many configurations at a few thousand a time: memory stays flat where the frames are on disk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from bayescg.data import Frames, Pairs, Stretches
from bayescg.data.rows import Rows
from bayescg.errors import DataError
from bayescg.modelling.model import Model, check_data

__all__ = ["CHUNK", "COLUMNS", "chunks", "columns", "joined", "observations", "on_device", "stacked"]

CHUNK = 4096

COLUMNS = ("momenta", "later_momenta", "lag", "forces", "energy", "labels", "commitments", "window")
"""What a model may learn of frames beside their positions."""


def columns(frames: Frames | Pairs) -> dict[str, Any]:
    """Of `COLUMNS`, those that these frames have, by name, with one row a frame; of pairs momenta, lags and windows."""
    if isinstance(frames, Pairs):
        window = {} if frames.frames.bias is None else {"window": frames.frames.bias.window[frames.i]}
        if frames.frames.momenta is None:
            return window
        states = dict(zip(("momenta", "later_momenta"), frames.ends("momenta"), strict=True))
        return {**states, "lag": frames.lags, **window}
    return {name: values for name in COLUMNS if (values := getattr(frames, name, None)) is not None}


def on_device(raw: Mapping[str, Tensor], like: Tensor) -> dict[str, Tensor]:
    """Tensors of `columns` on the device of `like` and, labels and windows apart, in its type."""
    types = {name: torch.int64 if name in ("labels", "window") else like.dtype for name in raw}
    moved = {name: values.to(like.device, types[name], non_blocking=True) for name, values in raw.items()}
    return {name: values.flatten(1) if "momenta" in name else values for name, values in moved.items()}


def chunks(x: Any, like: Tensor | None = None, size: int = CHUNK) -> Iterator[Tensor]:
    """Positions, at most `size` of them at a time, on the device and in the type of `like`.

    Parameters
    ----------
    x : Frames, Tensor or ndarray
        Frames and arrays on disk stay there.
    like : Tensor, optional
    size : int

    Raises
    ------
    DataError
        A coordinate is not finite.
    """
    gather = x.gather if hasattr(x, "gather") and not torch.is_tensor(x) else None
    x = x if gather or torch.is_tensor(x) or isinstance(x, Rows) else np.asanyarray(x)
    for start in range(0, max(len(x), 1), size):
        part = gather(np.arange(start, min(start + size, len(x)))) if gather else x[start : start + size]
        part = torch.as_tensor(part if torch.is_tensor(part) else np.array(part))
        part = part if like is None else part.to(like)
        if not torch.isfinite(part).all():
            bad = start + torch.nonzero(~torch.isfinite(part))[:, 0].unique()[:5]
            raise DataError(f"the coordinates of frames {bad.tolist()} are not finite")
        yield part


def observations(model: Model, data: Any) -> Iterator[dict[str, Tensor]]:
    """Fields of a `Batch`, a chunk at a time: ``"x"``, the model's inputs, and what else Frames hold; of pairs ``"y"``.

    Parameters
    ----------
    model : Model
    data : Frames, Pairs, Stretches, Tensor or ndarray

    Raises
    ------
    DataError
        A coordinate is not finite, or the data are not what the model learns from.
    """
    data = model.rows(data)
    check_data(model, data)
    like = next(model.parameters())
    if isinstance(data, Stretches):
        for first in range(0, len(data), several := max(1, CHUNK // data.length)):
            yield {"x": stacked(model, data.subset(slice(first, first + several)), like)}
        return
    ends = {"x": data}
    if isinstance(data, Pairs):
        ends = dict(zip("xy", data.ends(), strict=True))
    also, start = columns(data) if isinstance(data, Frames | Pairs) else {}, 0
    for parts in zip(*(chunks(end, like) for end in ends.values()), strict=True):
        rows = slice(start, start := start + len(parts[0]))
        raw = {name: torch.as_tensor(np.array(values[rows])) for name, values in also.items()}
        with torch.no_grad():
            yield {name: model.inputs(part) for name, part in zip(ends, parts, strict=True)} | on_device(raw, like)


def stacked(model: Model, data: Stretches, like: Tensor) -> Tensor:
    """The model's inputs of stretches, ``(n, length, ...)``, where and of the type that `like` is; NaN at the ends."""
    within = np.unique(data.index[data.index >= 0])
    with torch.no_grad():
        x = torch.cat([model.inputs(part) for part in chunks(data.frames.subset(within), like)])
    index = np.where(data.index < 0, -1, np.searchsorted(within, data.index))
    return replace(data, index=index).arranged(x)


def joined(parts: Sequence[Distribution]) -> Distribution | None:
    """One distribution over all the batches; None where it is of a kind that is more than its parameters.

    Examples
    --------
    >>> from torch.distributions import Normal
    >>> one, two = (Independent(Normal(torch.zeros(n, 2), torch.ones(n, 2)), 1) for n in (3, 4))
    >>> joined([one, two]).batch_shape
    torch.Size([7])
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Independent):
        base = joined([p.base_dist for p in parts])  # type: ignore[attr-defined]
        return base and type(first)(base, first.reinterpreted_batch_ndims)
    names = [name for name in first.arg_constraints if name in vars(first)]
    if not names or len(names) < len(first.arg_constraints):
        return None
    kind: Any = type(first)
    return kind(**{name: torch.cat([getattr(p, name) for p in parts]) for name in names})
