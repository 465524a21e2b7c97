"""Values of observables, given by name or as functions of positions, over all frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.errors import DataError
from bayescg.features import Features
from bayescg.features.observables import from_names
from bayescg.feeding.chunks import chunks
from bayescg.modelling import Model

if TYPE_CHECKING:
    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = ["CHUNK", "evaluate", "label", "moments", "named_observables", "unit_of", "wrap"]

CHUNK = 10_000


def evaluate(function: Callable[[torch.Tensor], Any], frames: Frames) -> np.ndarray:
    """Values of a function of positions over all frames, ``(n, ...)``, a chunk of frames in memory at a time.

    Raises
    ------
    DataError
        A value is not finite, or there is not one for each frame.
    """
    if isinstance(function, Features):
        function.check_frames(frames)
    parts = []
    with torch.no_grad():
        for part in chunks(frames, size=CHUNK):
            value = function(part)
            value = value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)
            if value.ndim == 0 or len(value) != len(part):
                raise DataError(
                    f"{label(function)} gave shape {value.shape} for {len(part)} frames; one value a frame is needed"
                )
            parts.append(value.astype(np.float64))
    values = np.concatenate(parts)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
    if len(bad):
        raise DataError(f"{label(function)} is not finite for frames {bad[:5].tolist()}")
    return values


def named_observables(
    observables: Sequence[str | Callable[..., Any]] | str | Callable[..., Any], fit: Fit | Model | None, frames: Frames
) -> list[Callable[..., Any]]:
    """Observables, or a single one, those given by name made from the topology of the frames.

    The reference of ``rmsd`` is that of the aligned features of the fit or model, or else the first frame.
    """
    observables = [observables] if isinstance(observables, str) or callable(observables) else observables
    trained_on = getattr(fit, "frames", None)
    topology = trained_on.topology if frames.topology is None and trained_on is not None else frames.topology
    model = fit if isinstance(fit, Model) else getattr(fit, "model", None)
    reference = getattr(getattr(model, "features", None), "reference", None)
    if reference is None and frames.positions.ndim == 3:
        reference = frames.gather([0])[0]
    functions = []
    for observable in observables:
        if not isinstance(observable, str):
            functions.append(observable)
        elif topology is None:
            raise DataError(f"the observable {observable!r} needs a topology: load the frames with top= or topology=")
        else:
            functions += from_names([observable], topology, reference)
    return functions


def label(function: Any) -> str:
    """Name of an observable."""
    name = str(getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__))
    return "function" if name == "<lambda>" else name


def unit_of(function: Any) -> str:
    """Unit of an observable; ``"rad"`` makes it periodic."""
    return str(getattr(function, "unit", ""))


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles moved into [-pi, pi).

    Examples
    --------
    >>> float(wrap(np.array(3 * np.pi)))
    -3.14159...
    """
    return (angle + np.pi) % (2 * np.pi) - np.pi


def moments(values: np.ndarray, weights: np.ndarray, periodic: bool) -> tuple[np.ndarray, np.ndarray]:
    """Average and standard deviation along the last axis; circular ones for angles.

    Examples
    --------
    >>> angles = np.array([3.0, -3.0])
    >>> [float(abs(moments(angles, np.ones(2), periodic)[0])) for periodic in (True, False)]
    [3.14159..., 0.0]
    """
    w = weights / weights.sum(-1, keepdims=True)
    if not periodic:
        mean = (w * values).sum(-1)
        return mean, np.sqrt((w * (values - mean[..., None]) ** 2).sum(-1))
    resultant = (w * np.exp(1j * values)).sum(-1)
    return np.angle(resultant), np.sqrt(-2 * np.log(np.clip(np.abs(resultant), 1e-12, 1.0)))
