"""Cells of frames: their numbers, places between edges, or what a function makes of positions."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.errors import ConfigError, DataError

__all__ = ["cells_of", "check_cells", "count_cells"]


def check_cells(cells: Any) -> Any:
    """What cells are: None, ``"labels"``, edges as a list, or a function.

    Raises
    ------
    ConfigError
        None of these, or edges that do not rise.

    Examples
    --------
    >>> check_cells((-1, 1))
    [-1.0, 1.0]
    """
    if cells is None or cells == "labels" or callable(cells):
        return cells
    if isinstance(cells, str) or not isinstance(cells, Sequence | np.ndarray):
        raise ConfigError(
            f'cells={cells!r} must be None, "labels", edges between cells such as [-1.0, 1.0], or a function from '
            "positions to whole numbers (n,)"
        )
    check_numbers(**{f"cells[{k}]": (edge, "(-inf, inf)") for k, edge in enumerate(cells)})
    edges = [float(edge) for edge in cells]
    if len(edges) < 1 or sorted(set(edges)) != edges:
        raise ConfigError(f"cells={edges}: edges between cells rise, and there is one at least")
    return edges


def cells_of(values: Tensor, edges: Any, cells: int | None) -> Tensor:
    """Numbers of cells ``(n, 1)``, NaN where they are not known: places between `edges`, or the `values` themselves.

    Raises
    ------
    DataError
        There are several values a frame, or a number is none of so many `cells`.

    Examples
    --------
    >>> cells_of(torch.tensor([[0.2], [-3.0]]), [0.0], 2), cells_of(torch.tensor([[1.0], [-1.0]]), None, 2)
    (tensor([[1.],
            [0.]]), tensor([[1.],
            [nan]]))
    """
    if values.shape[1] != 1:
        raise DataError(f"cells are of one number, and these frames have {values.shape[1]}: give features= of size 1")
    if isinstance(edges, list):
        return torch.bucketize(values, torch.as_tensor(edges).to(values)).to(values)
    if cells is not None and bool((values >= cells).any()):
        raise DataError(
            f"cell {int(values.max())} is none of the {cells} that the model knows: give alphabet=, or train it on "
            "frames that are in all cells"
        )
    return torch.where(values < 0, torch.nan, values)


def count_cells(x: Tensor, cells: int | None) -> int:
    """How many cells there are, of numbers of which some are NaN; `cells` where that is known.

    Raises
    ------
    DataError
        One is no whole number, or larger than there are frames, or all are the same.

    Warns
    -----
    UserWarning
        Some cells are never visited.

    Examples
    --------
    >>> count_cells(torch.tensor([0.0, torch.nan, 1.0]), None)
    2
    """
    cell = x[~x.isnan()]
    if len(cell) == 0 or bool((cell != cell.round()).any()):
        raise DataError("cells are whole numbers, from zero on; negative ones are not known, and some must be")
    if bool((cell == cell[0]).all()):
        raise DataError(
            f"all frames are in cell {int(cell[0])}, which tells nothing of hidden states: give cells that divide the "
            "frames"
        )
    if cells is None:
        if cell.max() >= len(cell):
            raise DataError(
                f"a frame is in cell {int(cell.max())}, of only {len(cell)} frames in cells: number cells from zero "
                "on, as numpy.unique(labels, return_inverse=True) does"
            )
        cells = int(cell.max()) + 1
    empty = np.flatnonzero(np.bincount(cell.long().numpy(), minlength=cells) == 0)
    if len(empty):
        warnings.warn(
            f"{len(empty)} of {cells} cells are never visited (the first: {empty[:5].tolist()}): what is said of them "
            "is the prior's",
            stacklevel=4,
        )
    return cells
