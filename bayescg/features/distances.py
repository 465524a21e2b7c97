"""Distances between atoms, to the nearest periodic image where there is a box."""

import warnings
from collections.abc import Sequence
from itertools import combinations, product
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.features.interface import Features, atom_groups, register
from bayescg.features.periodic import around, constant_box, edges, minimum_image, neighbours, reduced
from bayescg.features.topology import atom_label, select_atoms
from bayescg.topologies import read_topology

__all__ = ["Box", "Distances", "distances", "labelled_pairs"]

Box: TypeAlias = "ArrayLike | Literal[False] | None"

NOTICEABLE = 1e-3
"""nm: distances that are further off by a box than this are refused."""


@register
class Distances(Features):
    """Distances in nm between pairs of atoms, to the nearest image of a periodic box.

    Parameters
    ----------
    atoms : int
        Number of atoms of the system.
    pairs : sequence of (int, int)
        Atom indices, from 0.
    labels : sequence of str
        A name for each pair.
    box : array or False, optional
        Box vectors (3, 3), or the lengths (3,) of a rectangular box, in nm. Default: none, and frames in whose box
        other images are nearer are refused; False: none, and they are not.
    """

    pairs: Tensor
    box: Tensor
    cells: Tensor | None

    def __init__(self, atoms: int, pairs: Sequence[Sequence[int]], labels: Sequence[str], box: Box = None):
        super().__init__(size=len(pairs), atoms=atoms)
        if len(labels) != len(pairs):
            raise ConfigError(f"{len(pairs)} pairs of atoms have {len(labels)} labels")
        self.register_buffer("pairs", atom_groups(pairs, 2, atoms), persistent=False)
        self.labels = list(labels)
        self.vectors = box if box is None or box is False else edges(box).tolist()
        cell = reduced(torch.tensor(self.vectors or np.eye(3).tolist(), dtype=torch.float64))
        self.register_buffer("box", cell, persistent=False)
        cells = neighbours(cell)
        self.register_buffer("cells", cells if len(cells) else None, persistent=False)

    @property
    def names(self) -> list[str]:
        """``d(CA 9, N 17)``, with serial numbers from 1."""
        return [f"d({label})" for label in self.labels]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        pairs = self.pairs.tolist()
        return {"type": "Distances", "atoms": self.atoms, "pairs": pairs, "labels": self.labels, "box": self.vectors}

    def forward(self, x: Tensor, box: Tensor | None = None) -> Tensor:
        """Positions ``(..., atoms, 3)`` to distances ``(..., size)``.

        `box`, ``(3, 3)`` or ``(..., 3, 3)`` in nm, is that of each frame, instead of the one that all have.
        """
        x = self.checked(x)
        d = x[..., self.pairs[:, 1], :] - x[..., self.pairs[:, 0], :]
        if box is not None:
            each = reduced(box.to(d))
            d = minimum_image(d, each, around(each))
        elif self.vectors:
            d = minimum_image(d, self.box.to(d), None if self.cells is None else self.cells.to(d))
        return torch.linalg.vector_norm(d, dim=-1)

    def check_frames(self, frames: Any) -> None:
        """See `Features.check_frames`."""
        if frames.box is None or self.vectors is False:
            return
        sample = np.unique(np.linspace(0, len(frames) - 1, 50).astype(int))
        x, box = torch.as_tensor(frames.gather(sample)), torch.as_tensor(frames.gather(sample, "box"))
        with torch.no_grad():
            lengths = Distances.forward(self, x)
            nearest = torch.stack([Distances.forward(self, *frame) for frame in zip(x, box, strict=True)])
        off = (lengths - nearest).abs()
        if off.max() <= NOTICEABLE:
            return
        frame, pair = divmod(int(off.argmax()), len(self.pairs))
        where = (
            f"in frame {sample[frame]} {self.labels[pair]} are {nearest[frame, pair]:.3f} nm apart in the periodic "
            f"box, {lengths[frame, pair]:.3f} nm by these features"
        )
        exact = "compute features(x, box) with the box of every frame and give them to Frames.from_numpy"
        if self.vectors is not None:
            warnings.warn(f"{where}, whose box is another one; to be exact, {exact}", stacklevel=3)
            return
        maker = type(self).__name__.lower()
        raise DataError(
            f"{where}, which have no box. For the nearest image make them of the frames, {maker}(frames, ...), or give "
            f"box= (where boxes differ: box=frames.box.mean(0), nearly right; or {exact}); for distances inside whole "
            "molecules, whose images do not matter, box=False"
        )


def distances(
    top: Any,
    pairs: Sequence[Sequence[int]] | None = None,
    select: str | tuple[str, str] | None = None,
    box: Box = None,
) -> Distances:
    """Distances between atoms; invariant to rotation, translation and reflection, unless there is a box.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    pairs : sequence of (int, int), optional
        Atom indices, from 0.
    select : str or (str, str), optional
        Instead of `pairs`: all pairs among these atoms, in mdtraj's selection language, or all pairs of an atom of one
        selection with one of the other. Default: all atoms but hydrogen.
    box : array or False, optional
        Distances are to the nearest periodic image in this box: vectors (3, 3), or lengths (3,), in nm. Default: the
        box of `top`, if it is Frames or an mdtraj trajectory whose frames all have the same. False: no box, for
        distances inside molecules that are whole, which may be longer than half of it.

    Raises
    ------
    ConfigError
        Both `pairs` and `select` are given, a pair is not two different atoms, or the selection does not
        parse.
    TopologyError
        An atom does not exist, or fewer than two atoms are selected.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> distances(peptide("ACE-ALA-NME")[0], pairs=[(4, 8), (6, 14)]).names
    ['d(C 5, CA 9)', 'd(N 7, C 15)']
    """
    topology, rows, labels = labelled_pairs(top, pairs, select)
    return Distances(topology.n_atoms, rows, labels, constant_box(top) if box is None else box)


def labelled_pairs(
    top: Any, pairs: Sequence[Sequence[int]] | None, select: str | tuple[str, str] | None
) -> tuple[Any, list[list[int]], list[str]]:
    """The topology, and the pairs of atoms that arguments of `distances` stand for, with a label each."""
    topology, _ = read_topology(top)
    if pairs is not None and select is not None:
        raise ConfigError("give either pairs= or select=, not both")
    if isinstance(select, tuple | list):
        if len(select) != 2:
            raise ConfigError(f"select={select!r} must be one selection of atoms, or two")
        first, second = (select_atoms(topology, part).tolist() for part in select)
        pairs = list(dict.fromkeys((min(i, j), max(i, j)) for i, j in product(first, second) if i != j))
    elif pairs is None:
        atoms = select_atoms(topology, "not element H" if select is None else select).tolist()
        if len(atoms) < 2:
            raise TopologyError(f"only one atom is selected ({atom_label(topology, atoms[0])}); no distances")
        pairs = list(combinations(atoms, 2))
    rows = atom_groups(pairs, 2, topology.n_atoms).tolist()
    return topology, rows, [f"{atom_label(topology, i)}, {atom_label(topology, j)}" for i, j in rows]
