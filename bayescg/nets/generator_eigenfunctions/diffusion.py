"""The diffusion of features: how fast overdamped dynamics of the coordinates moves functions of them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import vjp

from bayescg.errors import ConfigError

__all__ = ["diffusion_root", "diffusion_tensor", "diffusion_value", "packed", "packed_diffusion", "unpacked"]

Diffusion = float | Sequence[Any] | Tensor | Callable[[Tensor], Tensor]


def diffusion_value(diffusion: Diffusion, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """D at the given positions, as a number, ``(dim,)``, ``(dim, dim)``, or for each frame ``(n, 1)`` or ``(n, ...)``.

    Parameters
    ----------
    diffusion : float, sequence or callable
        Constant, one for each coordinate, a symmetric matrix; or a function from positions to ``(n,)``, ``(n, dim)``
        or ``(n, dim, dim)``.
    x : Tensor, shape (n, ...)
    dtype : torch.dtype, optional
        Default: that of the positions.

    Raises
    ------
    ConfigError
        The shape does not fit, or a value is not positive.
    """
    value = diffusion(x) if callable(diffusion) else diffusion
    try:
        d = torch.as_tensor(value, dtype=dtype or x.dtype, device=x.device).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ConfigError(f"diffusion={value!r} is no number, sequence or function: {error}") from error
    n, dim = len(x), x[0].numel()
    shapes = ((n,), (n, dim), (n, dim, dim)) if callable(diffusion) else ((), (dim,), (dim, dim))
    if tuple(d.shape) not in shapes:
        kind = "function" if callable(diffusion) else "constant"
        raise ConfigError(f"a {kind} diffusion of shape {tuple(d.shape)} does not fit {n} frames of {dim} coordinates")
    matrices = d.shape[-2:] == (dim, dim) and d.dim() == len(shapes[-1])
    failed = torch.linalg.cholesky_ex(d)[1].any() if matrices else ~(d > 0).all()
    if failed or (matrices and not torch.allclose(d, d.mT)):
        raise ConfigError("diffusion must be positive everywhere, and a matrix symmetric")
    return d[:, None] if callable(diffusion) and d.dim() == 1 else d


def diffusion_tensor(features: Callable[[Tensor], Tensor] | None, x: Tensor, diffusion: Diffusion) -> Tensor:
    r"""Diffusion tensor of features, :math:`G = J D J^T` with :math:`J = \partial y / \partial x`, ``(n, m, m)``.

    Functions of the features then have the Dirichlet form :math:`E[\nabla_y f \cdot G \nabla_y f]`.

    Parameters
    ----------
    features : callable or None
        From positions to ``(n, m)``; None for the coordinates themselves.
    x : Tensor, shape (n, atoms, 3) or (n, dim)
    diffusion : float, sequence or callable

    Raises
    ------
    ConfigError
        As `diffusion_value`.

    Examples
    --------
    >>> x = torch.tensor([[3.0, 4.0]])
    >>> diffusion_tensor(lambda x: x.norm(dim=-1, keepdim=True), x, 0.5)
    tensor([[[0.5000]]])
    """
    d, dim = diffusion_value(diffusion, x), x[0].numel()
    if features is None:
        slopes = torch.eye(dim, dtype=x.dtype, device=x.device).expand(len(x), dim, dim)
    else:
        y, pull = vjp(features, x)[:2]
        units = torch.eye(y.shape[-1], dtype=y.dtype, device=y.device)
        slopes = torch.stack([pull(unit.expand_as(y))[0].reshape(len(x), dim) for unit in units], 1)
    matrix = d.shape[-2:] == (dim, dim) and (d.dim() == 3 or not callable(diffusion))
    moved = slopes @ d if matrix else slopes * (d[:, None, :] if d.dim() == 2 else d)
    return moved @ slopes.mT


def packed_diffusion(
    features: Callable[[Tensor], Tensor] | None, diffusion: Diffusion, x: Tensor
) -> tuple[Tensor, ...]:
    """Diffusion tensors of features, each `packed` into a row, where it is not the same at all positions; else none."""
    if features is None and not callable(diffusion):
        return ()
    return (packed(torch.cat([diffusion_tensor(features, part, diffusion) for part in x.split(1024)])),)


def diffusion_root(
    features: Callable[[Tensor], Tensor] | None, diffusion: Diffusion, x: Tensor
) -> tuple[Tensor, Tensor]:
    """A square root R of the diffusion D, the product of R's transpose and R, and how fast each feature moves.

    Where D varies R is the identity, and the rates ``(m,)`` are averages.

    Parameters
    ----------
    features, diffusion, x
        As of `diffusion_tensor`.

    Examples
    --------
    >>> root, rates = diffusion_root(None, [4.0, 9.0], torch.zeros(1, 2))
    >>> root.tolist(), rates.tolist()
    ([[2.0, 0.0], [0.0, 3.0]], [4.0, 9.0])
    """
    if features is None and not callable(diffusion):
        d = diffusion_value(diffusion, x)
        root = torch.linalg.cholesky(d).mT if d.dim() == 2 else d.sqrt() * torch.eye(x[0].numel()).to(d)
        return root, root.square().sum(0)
    rates = diffusion_tensor(features, x, diffusion).diagonal(dim1=1, dim2=2).mean(0)
    return torch.eye(len(rates)).to(rates), rates


def packed(tensor: Tensor) -> Tensor:
    """Lower halves of symmetric matrices (n, m, m) as rows (n, m (m + 1) / 2).

    Examples
    --------
    >>> matrix = torch.tensor([[[1.0, 2.0], [2.0, 5.0]]])
    >>> packed(matrix), bool((unpacked(packed(matrix), 2) == matrix).all())
    (tensor([[1., 2., 5.]]), True)
    """
    rows, columns = torch.tril_indices(*tensor.shape[1:])
    return tensor[:, rows, columns]


def unpacked(halves: Tensor, size: int) -> Tensor:
    """Symmetric matrices (n, size, size) that `packed` made rows of."""
    rows, columns = torch.tril_indices(size, size)
    place = torch.zeros(size, size, dtype=torch.int64)
    place[rows, columns] = place[columns, rows] = torch.arange(len(rows))
    return halves[:, place.flatten().to(halves.device)].unflatten(1, (size, size))
