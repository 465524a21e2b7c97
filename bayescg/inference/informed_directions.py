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
from bayescg.inference.score_variance import as_scores_vary
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model
from bayescg.recording.functional import Params, call_with, forward_mode, over

__all__ = ["by_training_frames", "flat", "scores_of_generated_frames", "unbiased"]

_EXACT = 2048
"""Parameters up to which the whole information matrix is computed."""

_SQUARE = 8192
"""Parameters up to which a matrix is sketched by four times as many rows as of more: it is at most that large."""

_ROWS = 4096
"""Gradients of a larger one that are all taken, and rows of the sketch of more."""

_NUMBERS = 2**26
"""Of all directions, that are kept."""

_SLOPES = 64
"""Parameters by which slopes are taken at once."""

_FRAMES = 8192
"""Frames read for a whole matrix, evenly spaced."""

_SCORES = 2048
"""Sums of scores with random signs: variances by them are off by 3 per cent."""

_EACH = 10
"""Frames for each determined parameter from which on scores tell how it varies: a frame that alone determines one does
not, as little is left of its noise, which the fit follows."""

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
    whose second moment is the matrix (:func:`unbiased`). That takes as long as the slopes of all frames once. Up to
    8192 parameters there are four times as many rows: what two inverses of one sketch have in common is then small.

    Every direction counts of which the data tell anything, for what is left out has the prior's width. Where so many
    cannot be kept, the precision of single parameters makes up for the rest.

    Of a model that tells its `residuals`, posteriors are as wide as estimates vary by the scores :math:`g_n` of frames,
    whatever the covariance of their noise, :math:`(1 + F)^{-1} (1 + \sum_n g_n g_n^T) (1 + F)^{-1}` in units of the
    prior, which is :math:`(1 + F)^{-1}` where the likelihood is true. That takes ten frames to a determined parameter.

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
    Mishkin et al., "SLANG", NeurIPS 2018, eq. (9). The variance by scores: White, "Maximum likelihood estimation of
    misspecified models", Econometrica 50, 1 (1982), theorem 3.2.
    """
    theta, rest = _split(point, names)

    def rows(t: Params, tensors: Params) -> Tensor:
        return call_with(model, {**rest, **t}, lambda m: m.information(Batch(**tensors, total=len(tensors["x"]))))

    def residuals(tensors: Params) -> Tensor | None:
        return call_with(model, point, lambda m: m.residuals(Batch(**tensors, total=len(tensors["x"]))))

    s, directions, sd, sketched = _by_likelihood(rows, theta, names, sd, frames, batch)
    few = frames < _EACH * float((s**2 / (1 + s**2)).sum())
    if few or residuals(batch(torch.zeros(1, dtype=torch.int64))) is None:
        return s, directions, sd

    def scores(tensors: Params) -> Tensor:
        left = over(residuals)(tensors)
        signs = _signs(*tensors["x"].shape[:2]).to(left)
        return (left.unflatten(1, (signs.shape[1], -1)) * signs[..., None]).flatten(1)

    groups = torch.randperm(frames).split(-(-frames // _SCORES))
    return *as_scores_vary(s, directions, _sums(rows, theta, names, batch, groups, scores) * sd, sketched), sd


def _by_likelihood(
    rows: Rows, theta: Params, names: list[str], sd: Tensor, frames: int, batch: Callable[[Tensor], Params]
) -> tuple[Tensor, Tensor, Tensor, int | None]:
    """What `by_training_frames` returns where noises are independent, and of how many rows a sketch was made of it."""
    if len(sd) <= _EXACT:
        return *_whole(rows, theta, names, sd, frames, batch), sd, None
    small = len(sd) <= _SQUARE
    matrix, complete = _sketch(rows, theta, names, sd, frames, batch, 4 * _ROWS if small else _ROWS)
    sketched, square = None if complete else len(matrix), small and len(matrix) > len(sd)
    parts = matrix.split(_ROWS) if square else [part.T for part in matrix.split(_ROWS, 1)]
    values, left = torch.linalg.eigh(sum(part.double().T @ part.double() for part in parts))
    values, left = values.flip(0), left.flip(1)
    rounding = 1e-12 * float(values[0])
    values = values.clamp_min(rounding)
    unseen = values.new_zeros(len(matrix) - len(values))
    scale = 1.0 if complete else unbiased(torch.cat([values, unseen]))
    informed, most = int(((scale * values > _TELLS) & (values > rounding)).sum()), max(1, _NUMBERS // len(sd))
    if square:
        return (scale * values[:informed]).sqrt(), left[:, :informed].T, sd, sketched
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
    return s, root.double() / s[:, None], sd, sketched


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
    rows: Rows,
    theta: Params,
    names: list[str],
    sd: Tensor,
    frames: int,
    batch: Callable[[Tensor], Params],
    most: int,
) -> tuple[Tensor, bool]:
    """All gradients, ``(m, size)``, or `most` sums of groups of them with random signs; and whether they are all."""
    each = len(rows(theta, batch(torch.zeros(1, dtype=torch.int64))))
    if frames * each <= most:
        parts = [batch(part) for part in torch.arange(frames).split(max(1, 1024 // each))]
        return torch.cat([flat(jacrev(rows)(theta, b), names, len(rows(theta, b))) * sd for b in parts]), True
    several, size = max(1, most // frames), -(-frames // most)

    def signs(tensors: Params) -> Tensor:
        count = len(rows(theta, {k: v[0] for k, v in tensors.items()}))
        return _signs(len(tensors["x"]), count).to(sd) / several**0.5

    return _sums(rows, theta, names, batch, torch.randperm(frames).repeat(several).split(size), signs) * sd, False


def _sums(
    rows: Rows,
    theta: Params,
    names: list[str],
    batch: Callable[[Tensor], Params],
    groups: tuple[Tensor, ...],
    factors: Callable[[Params], Tensor],
) -> Tensor:
    """Sums ``(groups, size)`` of the gradients of groups of frames, times the `factors` of each group's rows."""
    gradient = over(grad(lambda t, tensors, f: rows(t, tensors) @ f), (None, 0, 0))
    sums, some = [], max(1, 1024 // len(groups[0]))
    for first in range(0, len(groups), some):
        for alike in _of_one_length(groups[first : first + some]):
            tensors = {k: v.unflatten(0, alike.shape) for k, v in batch(alike.flatten()).items()}
            sums.append(flat(gradient(theta, tensors, factors(tensors)), names, len(alike)))
    return torch.cat(sums)


def _signs(*shape: int) -> Tensor:
    return torch.randint(2, shape) * 2.0 - 1.0


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
