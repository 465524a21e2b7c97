"""Posteriors as wide as estimates vary, where the noises of a frame are not what the likelihood has them to be."""

import torch
from torch import Tensor

__all__ = ["as_scores_vary"]

_INFORMED = 1e-2
"""Least information, in units of the prior's, of a direction whose width scores change: elsewhere it is the prior's."""


def as_scores_vary(s: Tensor, directions: Tensor, scores: Tensor, sketched: int | None) -> tuple[Tensor, Tensor]:
    r"""Roots and directions of the inverse of :math:`(1 + F)^{-1} (1 + S) (1 + F)^{-1}`, less one, largest first.

    F is the information by the likelihood, S the second moment of the scores; where these agree, it is F. No direction
    is left wider than the prior.

    Parameters
    ----------
    s : Tensor, (k,)
        Roots of the eigenvalues of F, largest first.
    directions : Tensor, (k, size)
        Its eigenvectors.
    scores : Tensor, (m, size)
        Whose sum of squares is S.
    sketched : int or None
        Rows of the sketch of which F is, freed of the bias of its inverse; None: F is whole.
    """
    informed = int((s.square() > _INFORMED).sum())
    if not informed:
        return s, directions
    inverse = 1 / (1 + s[:informed].double().square())
    root = torch.cat([part.double() @ directions[:informed].double().T for part in scores.split(512)])
    bias = 0.0 if sketched is None else _bias(inverse, root.square().sum(0), sketched)
    root = root * inverse
    variance = root.T @ root + torch.diag(inverse.square() - bias * (inverse - inverse.square()))
    values, turn = torch.linalg.eigh(variance)
    roots = (1 / values.clamp(float(inverse[0]) ** 2, 1.0) - 1).sqrt().to(s)
    s, directions = (
        torch.cat([roots, s[informed:]]),
        torch.cat([turn.T @ directions[:informed].double(), directions[informed:]]),
    )
    order = s.argsort(descending=True)
    return s[order], directions[order]


def _bias(inverse: Tensor, scores: Tensor, rows: int) -> float:
    r"""What sketching adds to :math:`R (1 + S) R`, of the inverse :math:`R = (1 + F)^{-1}`, in units of R - R^2.

    Of two inverses of the same sketch the errors do not average out: with :math:`a = tr\,F R^2`, :math:`b = tr\,F^2
    R^2` and m rows, that is :math:`R F R\, tr\,(1 + S) F R^2 / (m - b)`, to leading order in many rows. The traces
    follow from those of the sketch, which are off in the same way.

    Parameters
    ----------
    inverse : Tensor, (k,)
        Eigenvalues of R.
    scores : Tensor, (k,)
        S along its eigenvectors.
    rows : int

    References
    ----------
    LeJeune, Patil, Javadi, Baraniuk, Tibshirani, "Asymptotics of the sketched pseudoinverse", SIAM J. Math. Data Sci.
    6, 199 (2024), on second-order equivalents.
    """
    once, determined = float((inverse - inverse.square()).sum()), float((1 - inverse).sum())
    a = once
    for _ in range(100):
        a = once + a**2 / max(rows - determined + a, 0.05 * rows)
    left = max(rows - determined + a, 0.05 * rows)
    shared = min(a / left, 0.9)
    by_scores = float((scores * (inverse - inverse.square())).sum()) / (1 - shared)
    return (a + by_scores) / left / (1 - shared)
