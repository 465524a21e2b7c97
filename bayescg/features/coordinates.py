"""Features that are coordinates: flat ones of toy systems, Cartesian ones, superposed Cartesian ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, register, scripting
from bayescg.features.superpose import optimal_rotation
from bayescg.features.topology import as_reference, atom_label, select_atoms
from bayescg.topologies import read_topology

__all__ = ["Aligned", "Cartesian", "Flat", "aligned", "cartesian"]


@register
class Flat(Features):
    """The coordinates ``(..., dim)`` of a toy system, as they are.

    Parameters
    ----------
    dim : int
        Number of coordinates.
    """

    def __init__(self, dim: int):
        if dim < 1:
            raise ConfigError(f"flat coordinates need at least one dimension, got {dim}")
        super().__init__(size=dim, atoms=None)

    @property
    def names(self) -> list[str]:
        """``x1, x2, ...``."""
        return [f"x{i + 1}" for i in range(self.size)]

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {"type": "Flat", "dim": self.size}

    def forward(self, x: Tensor) -> Tensor:
        """``(..., dim)`` to the same."""
        if not scripting() and (not isinstance(x, Tensor) or x.ndim < 1 or x.shape[-1] != self.size):
            what = tuple(x.shape) if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise TopologyError(f"these features take a tensor of {self.size} flat coordinates, not {what}")
        return x


class _Coordinates(Features):
    def __init__(self, labels: Sequence[str]):
        super().__init__(size=3 * len(labels), atoms=len(labels))
        self.labels = list(labels)

    @property
    def names(self) -> list[str]:
        """``x(CA 9), y(CA 9), z(CA 9), ...`` with serial numbers from 1."""
        return [f"{axis}({label})" for label in self.labels for axis in "xyz"]

    def positions(self, y: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` in nm from features ``(..., 3 atoms)``."""
        return y.unflatten(-1, (len(self.labels), 3))


@register
class Cartesian(_Coordinates):
    """The coordinates of all atoms, in nm: not invariant to anything.

    Parameters
    ----------
    labels : sequence of str
        A name for each atom.
    """

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {"type": "Cartesian", "labels": self.labels}

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(..., 3 atoms)``."""
        return self.checked(x).flatten(-2)


@register
class Aligned(_Coordinates):
    """The coordinates of all atoms, in nm, after a rigid superposition onto a reference conformation.

    Translation and rotation are the ones that superpose the fitted atoms best, in least squares; the
    rotation is proper, so that a mirror image stays one. The centroid of the fitted atoms is put at the
    origin. Gradients include the derivative of the rotation: they are orthogonal to every rigid motion.

    Parameters
    ----------
    labels : sequence of str
        A name for each atom.
    reference : array
        ``(atoms, 3)`` in nm, or an OpenMM quantity; where it lies does not matter.
    fitted : sequence of int
        The atoms, numbered from 0, that the superposition looks at: at least three, not on a line.

    Raises
    ------
    TopologyError
        The reference has another number of atoms, is not finite, or its fitted atoms lie on a line.
    """

    reference: Tensor
    fitted: Tensor

    def __init__(self, labels: Sequence[str], reference: ArrayLike, fitted: Sequence[int]):
        super().__init__(labels)
        target, where = as_reference(reference, len(self.labels)), [int(atom) for atom in fitted]
        _check_fitted(target, where)
        dtype = torch.get_default_dtype()
        self.register_buffer("reference", torch.tensor(target, dtype=dtype), persistent=False)
        self.register_buffer("fitted", torch.tensor(where), persistent=False)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {
            "type": "Aligned",
            "labels": self.labels,
            "reference": self.reference.tolist(),
            "fitted": self.fitted.tolist(),
        }

    def forward(self, x: Tensor) -> Tensor:
        """``(..., atoms, 3)`` to ``(..., 3 atoms)``."""
        x = self.checked(x)
        x = x - x[..., self.fitted, :].mean(-2, keepdim=True)
        # With x centred, a shift of the reference changes nothing.
        rotation = optimal_rotation(x[..., self.fitted, :].mT @ self.reference[self.fitted].to(x.dtype))
        return (x @ rotation.mT).flatten(-2)

    def of_fitted(self, x: Tensor) -> Tensor:
        """Of the fitted atoms alone, ``(..., 3 fitted)``."""
        return self(x).unflatten(-1, (-1, 3))[..., self.fitted, :].flatten(-2)


def _check_fitted(reference: np.ndarray, fitted: list[int]) -> None:
    atoms = len(reference)
    if len(set(fitted)) != len(fitted) or not all(0 <= atom < atoms for atom in fitted):
        raise TopologyError(f"the fitted atoms {fitted} are not different ones of {atoms}, numbered from 0")
    if len(fitted) < 3:
        raise TopologyError(f"a superposition needs at least three atoms; {len(fitted)} are selected")
    spread = np.linalg.svd(reference[fitted] - reference[fitted].mean(axis=0), compute_uv=False)
    if spread[1] < 1e-3 * spread[0]:
        raise TopologyError("the fitted atoms lie on a line, so that no rotation is best; select more")


def cartesian(top: Any) -> Cartesian | Flat:
    """Coordinates as they are.

    Parameters
    ----------
    top : topology or int
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames; or the dimension of a toy system.

    Examples
    --------
    >>> cartesian(5).size
    5
    """
    if isinstance(top, int):
        return Flat(top)
    topology, _ = read_topology(top)
    return Cartesian([atom_label(topology, i) for i in range(topology.n_atoms)])


def aligned(top: Any, reference: ArrayLike | None = None, select: str = "not element H") -> Aligned:
    """Coordinates of all atoms after superposition onto a reference.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames.
    reference : array, optional
        ``(atoms, 3)`` in nm, or an OpenMM quantity. Default: the coordinates, or the first frame, of `top`.
    select : str
        The atoms that are superposed, in mdtraj's selection language; ``"all"`` for every one.

    Raises
    ------
    ConfigError
        No reference is given and `top` has no coordinates, or the selection does not parse.
    TopologyError
        See `Aligned`.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> align, x = aligned(topology, positions), torch.randn(7, 22, 3)
    >>> torch.allclose(align(x), align(x + 1.0), atol=1e-4)
    True
    """
    topology, first = read_topology(top)
    if reference is None:
        if first is None:
            raise ConfigError("this topology has no coordinates: give reference=, of shape (atoms, 3) in nm")
        reference = first
    reference = as_reference(reference, topology.n_atoms, topology)
    labels = [atom_label(topology, i) for i in range(topology.n_atoms)]
    return Aligned(labels, reference, select_atoms(topology, select).tolist())
