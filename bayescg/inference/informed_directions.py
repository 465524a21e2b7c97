"""What data tell of the parameters beside the prior: the leading directions of the Fisher information."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp, vjp

from bayescg.data import evenly
from bayescg.inference.generation import generate
from bayescg.inference.objectives import log_marginal
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model
from bayescg.recording.functional import Params, call_with, forward_mode, over

__all__ = ["by_training_frames", "flat", "scores_of_generated_frames"]

_EXACT = 2048
"""Parameters up to which the whole information matrix is computed."""

_ROWS = 4096
"""Gradients of a larger one that are all taken, and rows of the sketch of more."""

_SLOPES = 64
"""Parameters by which slopes are taken at once."""

_FRAMES = 8192
"""Frames read for a whole matrix, evenly spaced."""


def scores_of_generated_frames(model: Model, names: list[str], point: Params) -> tuple[Tensor, Tensor]:
    """Scores ``(n, size)`` of frames that the model generates, latent variables integrated out, and the frames.

    Parameters
    ----------
    model : Model
    names : list of str
        Of the parameters.
    point : dict of str to Tensor
    """
    theta, rest = _split(point, names)
    count = min(max(4 * sum(v.numel() for v in theta.values()), 1000), 2048)
    x = call_with(model, point, lambda m: generate(m, names, count))

    def score(xi: Tensor) -> Params:
        return grad(lambda t: log_marginal(model, names, {**rest, **t}, {"x": xi[None]}, particles=64)[0])(theta)

    return torch.cat([flat(over(score)(c), names, len(c)) for c in x.split(64)]), x


def by_training_frames(
    model: Model,
    names: list[str],
    point: Params,
    sd: Tensor,
    frames: int,
    batch: Callable[[Tensor], Params],
    rank: int = 512,
) -> tuple[Tensor, Tensor]:
    r"""Largest ones first, of the information of the frames trained on, by a model that states it (`information`).

    Up to 2048 parameters the matrix :math:`\sum_k \nabla r_k \nabla r_k^T` is whole, with all its directions, of at
    most 8192 frames that stand for all. Of more parameters it is made of all gradients where there are at most 4096,
    else of a sketch: of so many rows :math:`\sum_k \epsilon_k \nabla r_k`, over groups of frames with random signs,
    whose second moment is the matrix. That costs 4096 gradients, whatever the number of parameters.

    Parameters
    ----------
    model, names, point
        As for `scores_of_generated_frames`.
    sd : Tensor, (size,)
        In units of which the parameters are measured, those of the prior.
    frames : int
        Number of frames trained on.
    batch : callable
        From indices of frames to fields of a `Batch`, their weights among them.
    rank : int
        Most directions, of more than 2048 parameters.

    Returns
    -------
    s : Tensor, (k,)
        Roots of the information.
    directions : Tensor, (k, size)

    References
    ----------
    The generalised Gauss-Newton matrix: Martens, "New insights and perspectives on the natural gradient method",
    J. Mach. Learn. Res. 21, 1 (2020), section 9. The sketch: Clarkson, Woodruff, STOC 2013.
    """
    theta, rest = _split(point, names)

    def rows(t: Params, tensors: Params) -> Tensor:
        return call_with(model, {**rest, **t}, lambda m: m.information(Batch(**tensors, total=len(tensors["x"]))))

    if len(sd) <= _EXACT:
        index = torch.as_tensor(evenly(range(frames), _FRAMES))
        root = sd.new_zeros(0, len(sd), dtype=torch.float64)
        for part in index.split(1024):
            tensors = batch(part)
            count = len(rows(theta, tensors))
            if count < len(sd):
                jacobian = flat(jacrev(rows)(theta, tensors), names, count)
            else:
                jacobian = _forwards(lambda t, b=tensors: rows(t, b), theta, names)
            jacobian = (jacobian * sd).double() * (frames / len(index)) ** 0.5
            # a root of the matrix, not the matrix: rounding would drown what noiseless data tell of small directions
            root = torch.linalg.qr(torch.cat([root, jacobian]), mode="r")[1]
        return torch.linalg.svd(root, full_matrices=False)[1:]
    each = len(rows(theta, batch(torch.zeros(1, dtype=torch.int64))))
    gradients = []
    for part in torch.randperm(frames).tensor_split(min(frames, _ROWS)):
        value, backward = vjp(lambda t, p=part: rows(t, batch(p)), theta)[:2]
        signs = torch.eye(len(value), dtype=value.dtype, device=value.device)
        if frames * each > _ROWS:
            several = max(1, _ROWS // frames)
            signs = (torch.randint(2, (several, len(value)), device=value.device) * 2.0 - 1.0).to(value) / several**0.5
        gradients.append(flat(over(lambda s, b=backward: b(s)[0])(signs), names, len(signs)) * sd)
    matrix = torch.cat(gradients)
    values, left = torch.linalg.eigh((matrix @ matrix.T).double())
    s = values.clamp_min(1e-12 * float(values[-1])).sqrt().flip(0)[:rank]
    return s, (left.T.flip(0)[:rank].to(matrix) @ matrix).double() / s[:, None]


def flat(values: Params, names: list[str], rows: int) -> Tensor:
    """Parameters, each ``(rows, ...)``, side by side, ``(rows, size)``."""
    return torch.cat([values[n].reshape(rows, -1) for n in names], 1)


def _forwards(rows: Callable[[Params], Tensor], theta: Params, names: list[str]) -> Tensor:
    """Slopes ``(k, size)`` of rows ``(k,)`` by all parameters, of some of these at a time, for what each takes."""
    sizes = [theta[n].numel() for n in names]
    with forward_mode():
        parts = [
            over(lambda t: jvp(rows, (theta,), (t,))[1])(
                {n: p.reshape(-1, *theta[n].shape) for n, p in zip(names, part.split(sizes, 1), strict=True)}
            )
            for part in torch.eye(sum(sizes)).to(theta[names[0]]).split(_SLOPES)
        ]
    return torch.cat(parts).T


def _split(point: Params, names: list[str]) -> tuple[Params, Params]:
    return {n: point[n] for n in names}, {k: v for k, v in point.items() if k not in names}
