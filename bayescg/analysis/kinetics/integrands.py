"""What is averaged over frames, or over pairs of them, to find slow modes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vjp

from bayescg import nets
from bayescg.errors import ConfigError, DataError
from bayescg.recording.functional import forward_mode
from bayescg.truth.reduce import values_of

__all__ = ["Basis", "Diffusion", "Integrands", "gradients", "outside", "pairs", "pieces", "values"]

Basis = Callable[[Tensor], Tensor]
Diffusion = Any


def values(basis: Basis, x: Tensor) -> Tensor:
    """Functions (n, m) in double precision, checked."""
    with torch.no_grad():
        return _checked(basis(x), x)


def _checked(u: Tensor, x: Tensor) -> Tensor:
    if not torch.is_tensor(u) or u.ndim != 2 or len(u) != len(x) or not u.shape[1]:
        what = tuple(u.shape) if torch.is_tensor(u) else f"a {type(u).__name__}"
        raise DataError(f"the basis must map {len(x)} frames to a tensor ({len(x)}, functions), not {what}")
    if not u.isfinite().all():
        raise DataError("the functions are not finite for some frames: look at the coordinates, or bound the functions")
    return u.detach().cpu().double()


@dataclass(frozen=True)
class Integrands:
    """What is summed over n frames or pairs, scaled by their weights so that plain sums of products are the moments.

    Attributes
    ----------
    values : Tensor, (n, 1 or 2, m)
        Functions, at both ends of a pair.
    changes : Tensor, (n, dim or 1, m)
        Gradients times a square root of D, or differences of the ends.
    mean : Tensor, (n, m)
    weight : Tensor, (n,)
    """

    values: Tensor
    changes: Tensor
    mean: Tensor
    weight: Tensor


def pairs(basis: Basis, x: Tensor, steps: int, w: np.ndarray, shift: Tensor) -> Integrands:
    """Of the pairs that begin at the first ``len(w)`` frames, `steps` apart; those of weight 0 do not count."""
    u = values(basis, x) - shift
    n, weight = len(w), torch.from_numpy(w)
    now, later = u[:n] * weight[:, None], torch.zeros_like(u[:n])
    later[: max(len(u) - steps, 0)] = u[steps:]
    later *= weight[:, None]
    half = 0.5**0.5
    return Integrands(half * torch.stack([now, later], 1), half * (later - now)[:, None], 0.5 * (now + later), weight)


def outside(basis: Basis, a: Callable[[Tensor], Any], b: Callable[[Tensor], Any]) -> Basis:
    """One and the functions, all zero in two sets; and last the function that is one in the second set only."""

    def functions(x: Tensor) -> Tensor:
        u = basis(x)
        in_a, in_b = (torch.as_tensor(values_of(region, x) > 0).to(u.device) for region in (a, b))
        if (in_a & in_b).any():
            raise ConfigError("the sets a and b overlap: some frames lie in both")
        free = torch.where((in_a | in_b)[:, None], 0.0, torch.cat([torch.ones_like(u[:, :1]), u], 1))
        return torch.cat([free, in_b[:, None].to(u)], 1)

    return functions


def pieces(basis: Basis, x: Tensor, steps: int, w: np.ndarray, shift: Tensor) -> Integrands:
    """Of the same pairs, when the way from frame to frame is cut where it meets one of two sets.

    The functions are those of :func:`outside`. Three changes are kept: from the beginning to the first frame in a set,
    from the last such frame to the end, and between the sets, where those of all passages are alike and stand as one
    times the root of their number. There is no shift, which would make functions that are not zero in the sets.
    """
    del shift
    v = values(basis, x)
    n, place = len(w), np.arange(len(x))
    inside, second = (v[:, 0] == 0).numpy(), v[:, -1].numpy()
    following = np.minimum.accumulate(np.where(inside, place, len(x))[::-1])[::-1]
    preceding = np.maximum.accumulate(np.where(inside, place, -1))
    before = np.r_[-1, preceding[:-1]]
    passages = np.cumsum(inside & (before >= 0) & (second != second[before]))
    start, end = place[:n], np.minimum(place[:n] + steps, len(x) - 1)
    met = following[start] <= end
    first, last = np.minimum(following[start], end), np.where(met, preceding[end], end)
    changes = torch.stack([v[first] - v[start], v[end] - v[last], torch.zeros_like(v[:n])], 1)
    changes[:, 2, -1] = torch.from_numpy(np.where(met, passages[last] - passages[first], 0)).double().sqrt()
    weight = torch.from_numpy(w)
    root, ends = (0.5 * weight).sqrt()[:, None, None], torch.stack([v[start], v[end]], 1)
    return Integrands(root * ends, root * changes, 0.5 * weight[:, None] * ends.sum(1), weight)


def gradients(basis: Basis, x: Tensor, diffusion: Diffusion, w: np.ndarray, shift: Tensor) -> Integrands:
    """Of the Dirichlet form of the generator."""
    value, gradient = _gradient(basis, x)
    u, weight = _checked(value, x) - shift, torch.from_numpy(w)[:, None]
    g = _scaled(gradient.detach().cpu().double(), x, diffusion)
    root = weight.sqrt()[..., None]
    return Integrands(root * u[:, None], root * g, weight * u, weight[:, 0])


def _gradient(basis: Basis, x: Tensor) -> tuple[Tensor, Tensor]:
    """Values (n, m) and gradients (n, dim, m): forward in each coordinate or backward from each function."""
    dim = x[0].numel()
    with torch.no_grad():
        m = basis(x[:1]).shape[-1]
    if dim <= m:
        columns, value = [], x
        for i in range(dim):
            tangent = torch.zeros_like(x).reshape(len(x), -1)
            tangent[:, i] = 1.0
            with forward_mode():
                value, change = jvp(basis, (x,), (tangent.reshape(x.shape),))[:2]
            columns.append(change)
        return value, torch.stack(columns, 1)
    value, pull = vjp(basis, x)[:2]
    rows = []
    for i in range(m):
        cotangent = torch.zeros_like(value)
        cotangent[:, i] = 1.0
        rows.append(pull(cotangent)[0].reshape(len(x), -1))
    return value, torch.stack(rows, 2)


def _scaled(g: Tensor, x: Tensor, diffusion: Diffusion) -> Tensor:
    """Gradients (n, dim, m) times a square root of D."""
    d = nets.diffusion_value(diffusion, x, torch.float64).cpu()
    if d.dim() == 2 + callable(diffusion):  # matrices
        return torch.linalg.cholesky(d).mT @ g
    return g * d.sqrt()[..., None]
