"""What data tell of the parameters beside the prior: the leading directions of the Fisher information."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp

from bayescg.data import evenly
from bayescg.inference.generation import generate
from bayescg.inference.objectives import log_marginal
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model
from bayescg.recording.functional import Params, call_with, forward_mode, over

__all__ = ["by_training_frames", "flat", "scores_of_generated_frames", "unbiased"]

_EXACT = 2048
"""Parameters up to which the whole information matrix is computed."""

_ROWS = 4096
"""Gradients of a larger one that are all taken, and rows of the sketch of more."""

_NUMBERS = 2**26
"""Of all directions, that are kept."""

_SLOPES = 64
"""Parameters by which slopes are taken at once."""

_FRAMES = 8192
"""Frames read for a whole matrix, evenly spaced."""

_TELLS = 1e-5
"""Least information, in units of the prior's, of a direction that is kept: data may yet count ten thousand times."""

Rows = Callable[[Params, Params], Tensor]
"""What fields of a batch tell of parameters, ``(k,)``."""


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
    model: Model, names: list[str], point: Params, sd: Tensor, frames: int, batch: Callable[[Tensor], Params]
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Largest ones first, of the information of the frames trained on, by a model that states it (`information`).

    Up to 2048 parameters the matrix :math:`\sum_k \nabla r_k \nabla r_k^T` is whole, with all its directions, of at
    most 8192 frames that stand for all. Of more parameters it is made of all gradients where there are at most 4096,
    else of a sketch: of so many rows :math:`\sum_k \epsilon_k \nabla r_k`, over groups of frames with random signs,
    whose second moment is the matrix (:func:`unbiased`). That costs 4096 gradients, whatever the number of parameters.

    Every direction counts of which the data tell anything, for what is left out has the prior's width. Where so many
    cannot be kept, the precision of single parameters makes up for the rest.

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

    Returns
    -------
    s : Tensor, (k,)
        Roots of the information.
    directions : Tensor, (k, size)
        In units of `sd`.
    sd : Tensor, (size,)
        As given, or smaller by what single parameters know beside the directions.

    References
    ----------
    The generalised Gauss-Newton matrix: Martens, "New insights and perspectives on the natural gradient method",
    J. Mach. Learn. Res. 21, 1 (2020), section 9. The sketch: Clarkson, Woodruff, STOC 2013. Low rank and diagonal:
    Mishkin et al., "SLANG", NeurIPS 2018, eq. (9).
    """
    theta, rest = _split(point, names)

    def rows(t: Params, tensors: Params) -> Tensor:
        return call_with(model, {**rest, **t}, lambda m: m.information(Batch(**tensors, total=len(tensors["x"]))))

    if len(sd) <= _EXACT:
        return *_whole(rows, theta, names, sd, frames, batch), sd
    matrix, complete = _sketch(rows, theta, names, sd, frames, batch)
    values, left = torch.linalg.eigh(sum(part.double() @ part.double().T for part in matrix.split(_ROWS, 1)))
    values, left = values.flip(0), left.flip(1)
    rounding = 1e-12 * float(values[0])
    values = values.clamp_min(rounding)
    scale = 1.0 if complete else unbiased(values)
    informed, most = int(((scale * values > _TELLS) & (values > rounding)).sum()), max(1, _NUMBERS // len(sd))
    left = left[:, :most][:, :informed].T * scale**0.5
    # in double precision: directions of small values would be neither orthogonal nor of length 1
    root = torch.cat([left @ part.double() for part in matrix.split(_ROWS, 1)], 1)
    if informed > most:
        alone = 1 + (scale * matrix.square().sum(0) - root.square().sum(0)).clamp_min(0.0)
        sd, root = (sd * alone.rsqrt()).to(sd), root * alone.rsqrt()
        values, left = torch.linalg.eigh(root.double() @ root.double().T)
        values, scale = values.flip(0), 1.0
        root = left.flip(1).T.to(root) @ root
    s = (scale * values[: len(root)]).sqrt()
    return s, root.double() / s[:, None], sd


def _whole(
    rows: Rows, theta: Params, names: list[str], sd: Tensor, frames: int, batch: Callable[[Tensor], Params]
) -> tuple[Tensor, Tensor]:
    """Roots and directions of the whole matrix, of evenly spaced frames."""
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


def _sketch(
    rows: Rows, theta: Params, names: list[str], sd: Tensor, frames: int, batch: Callable[[Tensor], Params]
) -> tuple[Tensor, bool]:
    """All gradients, ``(m, size)``, or sums of groups of them with random signs; and whether they are all."""
    each = len(rows(theta, batch(torch.zeros(1, dtype=torch.int64))))
    if frames * each <= _ROWS:
        parts = [batch(part) for part in torch.arange(frames).split(256)]
        return torch.cat([flat(jacrev(rows)(theta, b), names, len(rows(theta, b))) * sd for b in parts]), True
    several, size = max(1, _ROWS // frames), -(-frames // _ROWS)
    groups = torch.randperm(frames).repeat(several).split(size)
    gradient = over(grad(lambda t, tensors, signs: rows(t, tensors) @ signs), (None, 0, 0))
    sums = []
    for first in range(0, len(groups), max(1, 1024 // size)):
        for alike in _of_one_length(groups[first : first + max(1, 1024 // size)]):
            tensors = {k: v.unflatten(0, alike.shape) for k, v in batch(alike.flatten()).items()}
            count = len(rows(theta, {k: v[0] for k, v in tensors.items()}))
            signs = (torch.randint(2, (len(alike), count), device=sd.device) * 2.0 - 1.0).to(sd) / several**0.5
            sums.append(flat(gradient(theta, tensors, signs), names, len(alike)) * sd)
    return torch.cat(sums), False


def _of_one_length(groups: tuple[Tensor, ...]) -> list[Tensor]:
    """The groups stacked, the last one apart where it is shorter."""
    if len(groups[-1]) == len(groups[0]):
        return [torch.stack(groups)]
    return [torch.stack(part) for part in (groups[:-1], groups[-1:]) if part]


def unbiased(values: Tensor) -> float:
    r"""By what information that m rows show is to be multiplied, for its posterior to have the right width on average.

    The rows are of a sketch, or scores of generated frames: their inverse, which is convex, is too wide by a factor
    :math:`1 - d / m`, d being the number of parameters that are determined.

    Parameters
    ----------
    values : Tensor, (m,)
        Eigenvalues of the information that they show, in units of the prior's.

    References
    ----------
    Dereziński, Bartan, Pilanci, Mahoney, "Debiasing distributed second order optimization with surrogate sketching and
    scaled regularization", NeurIPS 2020.
    """
    most, scale = 0.95 * len(values), 1.0
    for _ in range(200):
        determined = float((scale * values / (1 + scale * values)).sum())
        scale = 1 / (1 - min(determined, most) / len(values))
    if determined > most:
        warnings.warn(
            f"data determine more parameters than the {len(values):,} combinations of them that "
            "uncertainty='laplace' looks at: its intervals are too wide; use 'bootstrap', or a smaller model",
            stacklevel=2,
        )
    return scale


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
