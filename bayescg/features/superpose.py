"""The rotation that superposes conformations, with a gradient that stays finite and right."""

import torch
from torch import Tensor

__all__ = ["optimal_rotation"]


def optimal_rotation(covariance: Tensor) -> Tensor:
    """Proper rotation R that maximises tr(R H), differentiable to third order in H.

    With H = sum_i x_i r_i^T of centred positions x and reference r, ``x @ R.T`` is the least-squares
    superposition of x onto r. The rotation is found as the leading eigenvector of Horn's quaternion matrix,
    so it is never a reflection, and outside the graph, since the backward pass of an eigendecomposition
    divides by every gap of the spectrum. Two Newton steps for the same maximum, inside the graph, start at
    that answer. They leave its value as it is (to rounding) and give it its derivatives, dividing only by
    the curvature of the maximum itself.

    Parameters
    ----------
    covariance : Tensor
        H, ``(..., 3, 3)``.

    Returns
    -------
    Tensor
        R, ``(..., 3, 3)``, with determinant +1. Where the maximum is not unique (atoms on a line, say) R is
        one of the maximisers, and its gradient large but finite.

    References
    ----------
    B. K. P. Horn, J. Opt. Soc. Am. A 4, 629 (1987).

    Examples
    --------
    >>> turn = torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    >>> reference = torch.tensor([[0.3, 0.0, 0.0], [0.0, 0.2, 0.0], [0.0, 0.0, 0.1]])
    >>> turned = reference @ turn.T
    >>> torch.allclose(optimal_rotation(turned.T @ reference), turn.T, atol=1e-6)
    True
    """
    # R does not depend on the scale of H, so the scale may be a constant.
    scale = covariance.detach().square().sum((-2, -1), keepdim=True).sqrt()
    covariance = covariance / (scale + torch.finfo(covariance.dtype).tiny)
    rotation = _leading_quaternion_rotation(covariance.detach())
    for _ in range(2):
        rotation = _newton_step(rotation, covariance)
    return rotation


def _leading_quaternion_rotation(h: Tensor) -> Tensor:
    xx, xy, xz, yx, yy, yz, zx, zy, zz = h.flatten(-2).unbind(-1)
    horn = _matrix(
        [
            [xx + yy + zz, yz - zy, zx - xz, xy - yx],
            [yz - zy, xx - yy - zz, xy + yx, zx + xz],
            [zx - xz, xy + yx, yy - xx - zz, yz + zy],
            [xy - yx, zx + xz, yz + zy, zz - xx - yy],
        ]
    )
    finite = horn.nan_to_num(0.0, 0.0, 0.0)  # of what is not eigh ends in an error; the Newton steps make it NaN again
    return _rotation(torch.linalg.eigh(finite).eigenvectors[..., -1])


def _newton_step(rotation: Tensor, covariance: Tensor) -> Tensor:
    # For R exp([w]) to second order, tr(exp([w]) S) = tr S + g.w - w.A w / 2 with S = R H.
    s = rotation @ covariance
    xx, xy, xz, yx, yy, yz, zx, zy, zz = s.flatten(-2).unbind(-1)
    gradient = torch.stack([yz - zy, zx - xz, xy - yx], dim=-1)
    # Added to the curvature so that it can be divided by where the maximum is not unique.
    floor = 10 * torch.finfo(s.dtype).eps
    a, b, c = -(xy + yx) / 2, -(xz + zx) / 2, -(yz + zy) / 2
    first = torch.stack([yy + zz + floor, a, b], dim=-1)
    second = torch.stack([a, xx + zz + floor, c], dim=-1)
    third = torch.stack([b, c, xx + yy + floor], dim=-1)
    # Cramer's rule: plain arithmetic, which compiles into one kernel, where a batched solver would not.
    cofactors = torch.stack([_cross(second, third), _cross(third, first), _cross(first, second)], dim=-1)
    step = (cofactors @ gradient.unsqueeze(-1)).squeeze(-1) / (first * cofactors[..., 0]).sum(-1, keepdim=True)
    return _rotation(torch.cat([torch.ones_like(step[..., :1]), step / 2], dim=-1)) @ rotation


def _rotation(quaternion: Tensor) -> Tensor:
    """Rotation matrix of a quaternion (scalar first) of any length."""
    w, x, y, z = (quaternion / quaternion.square().sum(-1, keepdim=True).sqrt()).unbind(-1)
    return _matrix(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.cross(a, b, dim=-1)
