"""Radii of groups of flat coordinates: what is left of them where their angles do not matter."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_counts, whole_rows
from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, register, scripting

__all__ = ["Radii", "radii"]


@register
class Radii(Features):
    """Lengths of groups of the coordinates ``(..., dim)`` of a toy system.

    Parameters
    ----------
    dim : int
        Number of coordinates.
    groups : sequence of sequence of int
        Of coordinates, from 0.

    Raises
    ------
    ConfigError
        A group is empty, or names a coordinate that there is not.
    """

    def __init__(self, dim: int, groups: Sequence[Sequence[int]]):
        rows = whole_rows(groups, "groups of coordinates")
        if not rows or not all(rows) or any(not 0 <= i < dim for row in rows for i in row):
            raise ConfigError(f"groups={groups!r} must be lists of coordinates, 0 to {dim - 1}")
        super().__init__(size=len(rows), atoms=None)
        self.dim, self.groups = dim, rows
        members = torch.zeros(dim, len(rows))
        for k, row in enumerate(rows):
            members[row, k] = 1.0
        self.register_buffer("members", members, persistent=False)

    @property
    def names(self) -> list[str]:
        """``r(x1, x2), ...``."""
        return [f"r({', '.join(f'x{i + 1}' for i in row)})" for row in self.groups]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {"type": "Radii", "dim": self.dim, "groups": self.groups}

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to ``(..., groups)``."""
        if not scripting() and (not isinstance(x, Tensor) or x.ndim < 1 or x.shape[-1] != self.dim):
            what = tuple(x.shape) if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise TopologyError(f"these features take a tensor of {self.dim} flat coordinates, not {what}")
        return (x**2 @ self.members.to(x.dtype)).sqrt()  # type: ignore[operator]


def radii(top: Any, groups: Sequence[Sequence[int]]) -> Radii:
    """Lengths of groups of flat coordinates; no rotation within a group changes them.

    Parameters
    ----------
    top : Frames or int
        Of a toy system, or the number of its coordinates.
    groups : sequence of sequence of int
        Of coordinates, from 0.

    Raises
    ------
    ConfigError
        A group is empty, or names a coordinate that there is not; `top` is neither.

    Examples
    --------
    >>> plane = radii(5, [[0, 1], [2, 3]])
    >>> plane.names, plane(torch.tensor([3.0, 4.0, 0.0, 2.0, 9.0]))
    (['r(x1, x2)', 'r(x3, x4)'], tensor([5., 2.]))
    """
    dim = getattr(top, "dim", top)
    check_counts(top=(dim, 1))
    return Radii(dim, groups)
