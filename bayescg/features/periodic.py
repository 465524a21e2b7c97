"""Displacements to the nearest periodic image, in any box."""

from itertools import product
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bayescg.arguments import array_of
from bayescg.errors import ConfigError

__all__ = ["around", "constant_box", "edges", "minimum_image", "neighbours", "reduced"]

NEIGHBOURS = torch.tensor(list(product((-1.0, 0.0, 1.0), repeat=3))[14:], dtype=torch.float64)
"""Cells on one side of a cell, in units of the box vectors; those on the other side are their negatives."""


def constant_box(top: Any) -> np.ndarray | None:
    """Box vectors (3, 3) of Frames or an ``mdtraj.Trajectory``; None where it has none, or boxes that differ.

    Examples
    --------
    >>> constant_box("protein.pdb") is None
    True
    """
    box = getattr(top, "unitcell_vectors", getattr(top, "box", None))
    if not isinstance(box, np.ndarray) or box.shape[1:] != (3, 3) or (box != box[0]).any():
        return None
    return box[0]


def edges(box: ArrayLike) -> np.ndarray:
    """Box vectors (3, 3), float64, in nm, from those, or from the lengths (3,) of a rectangular box.

    Raises
    ------
    ConfigError
        This is neither, or has no volume.
    """
    vectors = array_of(box, "box=")
    vectors = np.diag(vectors) if vectors.shape == (3,) else vectors
    if vectors.shape != (3, 3) or not abs(np.linalg.det(vectors)) > 0:
        raise ConfigError("box= takes box vectors, (3, 3), or the lengths of a rectangular box, (3,), in nm")
    return vectors


def reduced(box: Tensor) -> Tensor:
    """The shortest vectors of the lattice of box vectors, ``(..., 3, 3)``.

    Each is made shorter by multiples of the shorter ones, again and again, as Euclid does with two numbers. The nearest
    image is then among the neighbours of the cell that rounding finds, which for skew vectors it is not.

    Examples
    --------
    >>> reduced(torch.tensor([[1.0, 0.0, 0.0], [3.0, 2.0, 0.0], [0.0, 2.0, 3.0]]))
    tensor([[1., 0., 0.],
            [0., 2., 0.],
            [0., 0., 3.]])
    """
    for _ in range(6):
        order = box.square().sum(-1).argsort(-1)
        a, b, c = box.take_along_dim(order.unsqueeze(-1), -2).unbind(-2)
        b = b - a * (_dot(a, b) / _dot(a, a)).round()
        c = c - b * (_dot(b, c) / _dot(b, b)).round()
        c = c - a * (_dot(a, c) / _dot(a, a)).round()
        box = torch.stack([a, b, c], dim=-2)
    return box


def around(box: Tensor) -> Tensor:
    """Shifts ``(..., 13, 3)`` to the cells on one side of the cell of box vectors ``(..., 3, 3)``."""
    return NEIGHBOURS.to(box) @ box


def neighbours(box: Tensor) -> Tensor:
    """Those of the shifts `around` `reduced` box vectors ``(3, 3)`` that ever lead to a nearer image.

    None if the box is rectangular.
    """
    shifts = around(box)
    return shifts[(shifts @ box.mT).abs().sum(-1) > (1 + 1e-6) * shifts.square().sum(-1)]


def minimum_image(d: Tensor, box: Tensor, cells: Tensor | None) -> Tensor:
    """The shortest among the periodic images of displacements.

    Which image is nearest does not change with a small displacement: the gradient is that of the image.

    Parameters
    ----------
    d : Tensor
        Displacements ``(..., pairs, 3)``.
    box, cells : Tensor
        `reduced` box vectors ``(3, 3)``, or one box a frame, ``(..., 3, 3)``, and the cells `around`, or those of them
        that matter, or None.

    Examples
    --------
    >>> box = 2.0 * torch.eye(3)
    >>> minimum_image(torch.tensor([[1.9, 0.0, -1.2]]), box, None)
    tensor([[-0.1000,  0.0000,  0.8000]])
    """
    whole = d.detach()
    across = torch.linalg.cross(box.roll(-1, -2), box.roll(-2, -2))  # the reciprocal vectors, but for the volume
    shift = -(whole @ (across / _dot(box, across)).mT).round() @ box
    if cells is not None:
        along = (whole + shift) @ cells.mT
        longer, cell = (cells.square().sum(-1).unsqueeze(-2) - 2 * along.abs()).min(-1, keepdim=True)
        nearest = cells.expand(*d.shape[:-2], -1, -1).gather(-2, cell.expand(*d.shape[:-1], 3))
        shift = shift - nearest * along.gather(-1, cell).sign() * (longer < 0)
    return d + shift


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum(-1, keepdim=True)
