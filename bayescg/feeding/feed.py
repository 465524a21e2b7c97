"""Feeding frames to a fit: what a model reads, on its device or read ahead from disk, in seeded minibatches."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.data import Frames, Pairs, Stretches
from bayescg.feeding.chunks import COLUMNS, columns, on_device, stacked
from bayescg.feeding.shuffle import Shuffle
from bayescg.feeding.stream import Stream
from bayescg.modelling.model import Model
from bayescg.recording.functional import seeded

__all__ = ["Feed", "inputs_of", "observed", "relaxation"]

_RESIDENT_BYTES = 2**31
_MIXED_BYTES = 2**31
_POOL_BYTES = 2**27
_CHUNK = 16_384


class Feed:
    """Minibatches of what a model reads of frames, with forces, energies, labels, counts and weights; or of pairs.

    All of it is computed once and kept on the device where it fits: in 2 GiB of memory, or in a quarter of a CUDA
    device's. Otherwise a thread reads batches ahead; of frames on disk it holds two pools of 128 MiB. Pairs are looked
    up in the frames, each of which is kept once. Stretches of trajectories are always kept.

    The order of the frames is a pure function of `seed` and step, and the same wherever the frames lie: random
    permutations up to 2 GiB, pools of random chunks beyond (see `Shuffle` for what that means).

    Parameters
    ----------
    model : Model
        Its `inputs` must not depend on its weights: they are computed before training, or from a copy of the model.
    frames : Frames, Pairs or Stretches
    batch_size : int
    device : torch.device
    seed : int
    weight : Tensor, optional
        What each frame counts, ``(n,)``, or ``(members, n)`` for refits.
    prefetch : int
        How many blocks of batches to read ahead, each of about 4 MiB and at least one batch; 0 reads when asked.

    Examples
    --------
    >>> from bayescg.models import PredictiveCV
    >>> model, frames, _ = PredictiveCV.example()
    >>> model.setup(frames)
    >>> feed = Feed(model, frames, 10, torch.device("cpu"), seed=0, weight=torch.ones(len(frames)))
    >>> {name: tuple(values.shape) for name, values in feed.batch(0).items()}
    {'x': (10, 4), 'weight': (10,)}
    """

    def __init__(
        self,
        model: Model,
        frames: Frames | Pairs | Stretches,
        batch_size: int,
        device: torch.device,
        seed: int,
        *,
        weight: Tensor | None = None,
        prefetch: int = 2,
    ):
        n = len(frames)
        self.model, self.frames, self.device, self.seed = model, frames, device, seed
        self.weight = None if weight is None else weight.to(device)
        self.size = min(batch_size, n)
        self._kept, self._ends, self._stream = dict[str, Tensor](), dict[str, tuple[str, Tensor]](), None
        if isinstance(frames, Stretches):
            self._order = self._local = Shuffle(n, self.size, seed, None)
            self._kept = observed(model, frames, None, device)
            return
        sources = _sources(frames)
        first_row = _raw(sources, np.arange(1))
        example = _tensors(model, device, None, first_row)
        paired = isinstance(frames, Pairs)
        total = len(frames.frames) * example["x"].nbytes if paired else n * _bytes(example)
        pool = _POOL_BYTES // _bytes(first_row) if total > _MIXED_BYTES else None
        self._order = self._local = Shuffle(n, self.size, seed, pool)
        if total > _resident_bytes(device):
            reader = copy.deepcopy(model) if device.type == "cpu" else model
            finish = partial(_tensors, reader, device, self.weight)
            self._stream = Stream(sources, Shuffle(n, self.size, seed, pool), finish, device, prefetch)
            return
        self._kept = {"x": inputs_of(model, frames.frames if paired else frames, None, device)}
        if paired:
            now, later = (torch.as_tensor(end).to(device) for end in (frames.i, frames.j))
            self._ends = {"x": ("x", now), "y": ("x", later)}
            raw = {name: torch.as_tensor(v) for name, v in sources.items() if name in ("lag", "window")}
            if frames.frames.momenta is not None:
                raw["momenta"] = torch.as_tensor(frames.frames.gather(slice(None), "momenta"))
                self._ends |= {"momenta": ("momenta", now), "later_momenta": ("momenta", later)}
            self._kept |= on_device(raw, self._kept["x"])
            self._ends |= {name: (name, torch.arange(n, device=device)) for name in raw if name != "momenta"}
            if self.size == n:
                self._kept, self._ends = self._rows(torch.arange(n, device=device)), {}
        else:
            del sources["positions"]
            self._kept |= on_device(_raw(sources, np.arange(n)), self._kept["x"])
        if device.type == "cuda":  # orders go to the device once an epoch, not once a step
            self._local = Shuffle(n, self.size, seed, pool, device)

    def indices(self, step: int) -> Tensor:
        """Frames of the minibatch of a step, ``(B,)``: a pure function of seed and step, each epoch a new order."""
        return self._order.indices(step)

    def batch(self, step: int) -> dict[str, Tensor]:
        """Tensors of the minibatch of a step, contiguous, on the device and (but for labels) in the model's type.

        ``"x"`` always, ``(B, ...)``, and of pairs ``"y"``, ``(B, ...)``; ``"forces"``, ``(B, atoms, 3)``, ``"energy"``
        and ``"labels"``, ``(B,)``, ``"commitments"``, ``(B, regions)``, where frames have them; ``"weight"``, ``(B,)``
        or ``(members, B)``, where the feed was given any. They may be the feed's own and are not to be written to.

        Raises
        ------
        DataError
            The frames can no longer be read.
        """
        if self._stream is not None:
            return self._stream.batch(step)
        if self.size == len(self.frames):
            return self._kept if self.weight is None else {**self._kept, "weight": self.weight}
        index = self._local.indices(step)
        tensors = self._rows(index)
        if self.weight is not None:
            tensors["weight"] = self.weight.index_select(-1, index)
        return tensors

    def inputs(self, index: Tensor) -> Tensor:
        """What the model reads of the given frames, ``(B, ...)``; of pairs, of the earlier ones."""
        return self.rows(index)["x"]

    def rows(self, index: Tensor) -> dict[str, Tensor]:
        """Tensors of the given frames or pairs, as in `batch`, without weights."""
        if self._stream is None:
            return self._rows(index.to(self.device))
        return observed(self.model, self.frames, index.numpy(), self.device)

    def _rows(self, index: Tensor) -> dict[str, Tensor]:
        """Of what is kept, the given frames or pairs."""
        if self._ends:
            return {name: self._kept[source].index_select(0, end[index]) for name, (source, end) in self._ends.items()}
        return {name: values.index_select(0, index) for name, values in self._kept.items()}

    def close(self) -> None:
        """End the thread that reads ahead, if there is one; the next batch starts it again."""
        if self._stream is not None:
            self._stream.close()


def inputs_of(
    model: Model, frames: Frames, index: np.ndarray | None, device: torch.device, chunk: int = _CHUNK
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
    first = _inputs(model, device, torch.as_tensor(frames.gather(index[:chunk])))
    if len(index) <= chunk:
        return first
    inputs = first.new_empty(len(index), *first.shape[1:])
    inputs[:chunk] = first
    for start in range(chunk, len(index), chunk):
        part = torch.as_tensor(frames.gather(index[start : start + chunk]))
        inputs[start : start + chunk] = _inputs(model, device, part)
    return inputs


def observed(
    model: Model, data: Frames | Pairs | Stretches, index: np.ndarray | None, device: torch.device
) -> dict[str, Tensor]:
    """``"x"``, the model's inputs of some frames (None: all), and what else is known of these; or both ends of pairs.

    Parameters
    ----------
    model : Model
    data : Frames, Pairs or Stretches
    index : ndarray or None
    device : torch.device
    """
    rows = slice(None) if index is None else index
    if isinstance(data, Stretches):
        return {"x": stacked(model, data.subset(rows), next(model.parameters()).to(device))}
    if isinstance(data, Pairs):
        ends = {"x": data.i[rows], "y": data.j[rows]}
        tensors = {name: inputs_of(model, data.frames, end, device) for name, end in ends.items()}
    else:
        tensors = {"x": inputs_of(model, data, index, device)}
    return {**tensors, **on_device(_raw(columns(data), rows), tensors["x"])}


def relaxation(model: Model, frames: Frames | Pairs | Stretches, limit: int = 100_000) -> float:
    """Statistical inefficiency of the slowest of the inputs' ten leading principal components; 1 without a time axis.

    Where a model knows better (`Model.inefficiency`), what it says.

    Of pairs it is at least the frames of a lag time, in which they share what happens. How long blocks of pairs must be
    hangs on it, not how much a pair tells (`Pairs.overlap`). Of stretches it is that of their frames in stretches.
    An input that is not known, NaN, counts as its mean.

    Parameters
    ----------
    model : Model
    frames : Frames, Pairs or Stretches
    limit : int
        At most the first so many frames are read.
    """
    if isinstance(frames, Pairs):
        if (stated := model.inefficiency(frames)) is not None:
            return max(1.0, float(stated))
        return max(1.0, max(relaxation(model, frames.frames, limit), frames.steps) / frames.spacing)
    if isinstance(frames, Stretches):
        return max(1.0, relaxation(model, frames.frames, limit) / (frames.length * frames.steps))
    if frames.order is None or len(frames) < 10:
        return 1.0
    if (stated := model.inefficiency(frames)) is not None:
        return max(1.0, float(stated))
    from bayescg.data import statistical_inefficiency

    n = min(limit, len(frames))
    y = inputs_of(model, frames, np.arange(n), next(model.parameters()).device).flatten(1).double().cpu()
    y = torch.where(y.isnan(), 0.0, y - y.nanmean(0))
    y /= y.std(0).clamp_min(1e-12)
    with seeded(0):  # the algorithm is a random one
        _, _, axes = torch.pca_lowrank(y, q=min(10, *y.shape), niter=4)
    return float(statistical_inefficiency((y @ axes).numpy(), frames.blocks(len(frames))[:n]))


def _inputs(model: Model, device: torch.device, positions: Tensor) -> Tensor:
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    with torch.no_grad():
        return model.inputs(positions.to(device, dtype, non_blocking=True))


def _tensors(model: Model, device: torch.device, weight: Tensor | None, raw: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of the frames whose raw rows are given; what `Stream` calls to finish its blocks."""
    tensors = {}
    for name, source in (("x", "positions"), ("y", "later")):
        if source in raw:
            parts = [_inputs(model, device, part) for part in raw[source].split(_CHUNK)]
            tensors[name] = parts[0] if len(parts) == 1 else torch.cat(parts)
    tensors |= on_device({name: raw[name] for name in COLUMNS if name in raw}, tensors["x"])
    if weight is not None:
        tensors["weight"] = weight.index_select(-1, raw["index"].to(device, non_blocking=True))
    return tensors


def _sources(frames: Frames | Pairs) -> dict[str, Any]:
    """Arrays with one row for each frame or pair."""
    if isinstance(frames, Pairs):
        return {**dict(zip(("positions", "later"), frames.ends(), strict=True)), **columns(frames)}
    return {"positions": frames.positions, **columns(frames)}


def _raw(sources: dict[str, Any], index: np.ndarray | slice) -> dict[str, Tensor]:
    return {name: torch.as_tensor(np.array(values[index], subok=False)) for name, values in sources.items()}


def _bytes(tensors: dict[str, Tensor]) -> int:
    return sum(values.nbytes for values in tensors.values())


def _resident_bytes(device: torch.device) -> int:
    """What may be kept on the device: a constant of the machine, so that a fit reads alike when it goes on."""
    return torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else _RESIDENT_BYTES
