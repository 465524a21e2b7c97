"""Internal coordinates: bonds, angles and torsions that determine a conformation, with their volume element."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from bayescg.errors import ConfigError, TopologyError
from bayescg.features.interface import Features, atom_groups, register, scripting
from bayescg.features.topology import as_reference, atom_label
from bayescg.features.torsions import torsion_sin_cos
from bayescg.features.zmatrix import checked_zmatrix, choose_zmatrix, protein_torsions, stereocentres
from bayescg.topologies import read_topology

__all__ = ["LOG_ROTATIONS", "InternalCoordinates", "internal_coordinates"]

LOG_ROTATIONS = math.log(8 * math.pi**2)
"""Logarithm of the volume of all rotations, which `InternalCoordinates.log_abs_det_jacobian` leaves out."""


@register
class InternalCoordinates(Features):
    r"""Bond lengths, angles and torsions: a bijection of conformations up to rigid motion.

    Each atom i but the first three is placed by three others: by its distance r to the atom b, by the angle
    :math:`\theta` a-b-i and by the torsion :math:`\varphi` d-a-b-i. Of the first three, the second has a bond only and
    the third a bond and an angle. The size is 3 atoms - 6: all bonds (nm), then all angles (radians, between 0 and
    :math:`\pi`), then all torsions (radians, periodic, in :math:`(-\pi, \pi]` unless `around` says otherwise, with the
    IUPAC sign), each in the order of the z-matrix. Where three atoms lie on a line the torsions around them do not
    exist: see `check`.

    With y the internal coordinates, and for a function f that no rigid motion changes,

    .. math:: \int f(x)\,dx = 8\pi^2 V \int f(x(y))\, e^{J(y)}\,dy, \qquad
        J = 2\log r_2 + 2\log r_3 + \log\sin\theta_3 + \sum_{i\ge4} (2\log r_i + \log\sin\theta_i),

    where V is the volume in which the molecule is. So the density of y is :math:`e^{J(y) - \beta U(x(y))}` up to
    a constant, and needs no frame of Cartesian coordinates to be held fixed.

    Parameters
    ----------
    labels : sequence of str
        A name for each atom.
    zmatrix : sequence of sequences of int
        ``[i]``, ``[i, b]``, ``[i, b, a]``, then ``[i, b, a, d]``: atoms, numbered from 0, each placed by those of
        earlier rows. Rows are sorted by depth, and all atoms of one depth are placed at once.
    torsions : mapping, optional
        Names for some torsions: ``{"phi ALA-2": [4, 6, 8, 14]}``. Others than those in `zmatrix` are ignored.
    centres : mapping, optional
        Chiral centres: ``{"ALA-2 CA": [centre, three neighbours]}``, see `chirality`.
    around : sequence of float, optional
        A middle for the range of each torsion, which is :math:`2\pi` wide, in the order of the coordinates; zero by
        default.

    Raises
    ------
    ConfigError
        The z-matrix is none; the message says which row.

    References
    ----------
    J. Parsons et al., J. Comput. Chem. 26, 1063 (2005): the placement. N. Gō, H. A. Scheraga, Macromolecules 9, 535
    (1976): the volume element.

    Examples
    --------
    >>> water = InternalCoordinates(["O", "H1", "H2"], [[0], [1, 0], [2, 0, 1]])
    >>> x = water.positions(torch.tensor([0.09, 0.1, 1.8]))
    >>> water(x + 5.0)
    tensor([0.0900, 0.1000, 1.8000])
    """

    zmatrix: Tensor
    order: Tensor
    centres: Tensor
    around: Tensor | None

    def __init__(
        self,
        labels: Sequence[str],
        zmatrix: Sequence[Sequence[int]],
        torsions: Mapping[str, Sequence[int]] | None = None,
        centres: Mapping[str, Sequence[int]] | None = None,
        around: Sequence[float] | None = None,
    ):
        atoms = len(labels)
        rows, self._sizes = checked_zmatrix(zmatrix, atoms)
        super().__init__(size=3 * atoms - 6, atoms=atoms)
        self.labels, self.centre_names = list(labels), list(centres or {})
        named = {tuple(row): label for label, row in (torsions or {}).items()}
        named.update({row[::-1]: label for row, label in named.items()})
        self._named = {tuple(row[::-1]): named[tuple(row)] for row in rows[3:] if tuple(row) in named}
        place = {row[0]: k for k, row in enumerate(rows)}
        self.register_buffer("zmatrix", torch.tensor([row + [-1] * (4 - len(row)) for row in rows]), persistent=False)
        self.register_buffer("order", torch.tensor([place[atom] for atom in range(atoms)]), persistent=False)
        neighbours = atom_groups(list(centres.values()), 4, atoms) if centres else torch.zeros(0, 4, dtype=torch.long)
        self.register_buffer("centres", neighbours, persistent=False)
        middle = None if around is None else torch.tensor(around, dtype=torch.get_default_dtype())
        if middle is not None and (middle.shape != (atoms - 3,) or not middle.isfinite().all()):
            raise ConfigError(
                f"around= must be {atoms - 3} finite torsions, one for each row of the z-matrix but three"
            )
        self.register_buffer("around", middle, persistent=False)
        start = 3
        for level, size in enumerate(self._sizes):
            # Where the atoms d, a and b of a level are among those placed before, one after the other.
            earlier = [place[row[k]] for k in (3, 2, 1) for row in rows[start : start + size]]
            self.register_buffer(f"level{level + 1}", torch.tensor(earlier), persistent=False)
            start += size
        self._third_on_first = rows[2][1] == rows[0][0]

    @property
    def levels(self) -> int:
        """How many placements make a conformation, after its first three atoms."""
        return len(self._sizes)

    @property
    def kinds(self) -> list[str]:
        """``"bond"``, ``"angle"`` or ``"torsion"`` for each coordinate."""
        atoms = len(self.labels)
        return ["bond"] * (atoms - 1) + ["angle"] * (atoms - 2) + ["torsion"] * (atoms - 3)

    @property
    def names(self) -> list[str]:
        """``bond(CA 9, N 7)``, ``angle(...)``, ``torsion(...)`` or such as ``phi ALA-2``; serial numbers from 1."""
        rows = [tuple(row[::-1]) for row in self.zmatrix.tolist()]
        listed = [("bond", row[-2:]) for row in rows[1:]] + [("angle", row[-3:]) for row in rows[2:]]
        plain = [f"{kind}({self._listed(row)})" for kind, row in listed]
        return plain + [self._named.get(row, f"torsion({self._listed(row)})") for row in rows[3:]]

    def _listed(self, atoms: Sequence[int]) -> str:
        return ", ".join(self.labels[atom] for atom in atoms)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {
            "type": "InternalCoordinates",
            "labels": self.labels,
            "zmatrix": [[atom for atom in row if atom >= 0] for row in self.zmatrix.tolist()],
            "torsions": {label: list(row) for row, label in self._named.items()},
            "centres": dict(zip(self.centre_names, self.centres.tolist(), strict=True)),
            "around": None if self.around is None else self.around.tolist(),
        }

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` in nm to ``(..., 3 atoms - 6)``: bonds, angles, torsions."""
        x = self.checked(x)
        atom, b = (x[..., self.zmatrix[1:, k], :] for k in (0, 1))
        bond = atom - b
        turn = x[..., self.zmatrix[2:, 2], :] - b[..., 1:, :]
        angle = _angle(turn, bond[..., 1:, :])
        parts = [torch.linalg.vector_norm(bond, dim=-1), angle]
        if len(self.labels) > 3:
            parts.append(self._torsions(x))
        return torch.cat(parts, dim=-1)

    def _torsions(self, x: Tensor) -> Tensor:
        sine, cosine = torsion_sin_cos(x, self.zmatrix[3:].flip(-1))
        if self.around is None:
            return torch.atan2(sine + 0.0, cosine)  # -0.0 + 0.0 is 0.0: a planar trans torsion is pi, never -pi
        middle = self.around.to(x.dtype)
        c, s = middle.cos(), middle.sin()
        return middle + torch.atan2(sine * c - cosine * s, cosine * c + sine * s)

    def positions(self, y: Tensor) -> Tensor:
        """Conformation of internal coordinates.

        The first atom of the z-matrix is at the origin, the second on the x axis, the third in the xy plane with
        positive y. Torsions may be any real numbers, with period 2 pi.

        Parameters
        ----------
        y : Tensor
            ``(..., 3 atoms - 6)``; bonds positive, angles between 0 and pi.

        Returns
        -------
        Tensor
            ``(..., atoms, 3)`` in nm.

        Raises
        ------
        TopologyError
            Another number of coordinates.
        """
        bond, angle, torsion = self.parts(y)
        r2, r3, theta = bond[..., 0], bond[..., 1], angle[..., 0]
        zero = torch.zeros_like(r2)
        along = r3 * theta.cos()
        third = torch.stack([along if self._third_on_first else r2 - along, r3 * theta.sin(), zero], dim=-1)
        placed = torch.stack([torch.stack([zero] * 3, dim=-1), torch.stack([r2, zero, zero], dim=-1), third], dim=-2)
        start = 0
        for level, size in enumerate(self._sizes):
            before = placed[..., self.get_buffer(f"level{level + 1}"), :]
            d, a, b = before.split(size, dim=-2)
            r, theta, phi = bond[..., 2:], angle[..., 1:], torsion
            r, theta, phi = (part[..., start : start + size, None] for part in (r, theta, phi))
            placed = torch.cat([placed, _place(d, a, b, r, theta, phi)], dim=-2)
            start += size
        return placed[..., self.order, :]

    def log_abs_det_jacobian(self, y: Tensor) -> Tensor:
        """J, the logarithm of the volume of conformations per volume of internal coordinates.

        The integral over all rotations, 8 pi^2, is left out: add `LOG_ROTATIONS` where normalisation matters.

        Parameters
        ----------
        y : Tensor
            ``(..., 3 atoms - 6)``.

        Returns
        -------
        Tensor
            ``(...)``; not finite outside the domain of bonds and angles.
        """
        bond, angle, _ = self.parts(y)
        return 2 * bond.log().sum(-1) + angle.sin().log().sum(-1)

    def chirality(self, x: Tensor) -> Tensor:
        """Handedness of every chiral centre of the amino acids, in the order of `centre_names`.

        Parameters
        ----------
        x : Tensor
            Positions ``(..., atoms, 3)``.

        Returns
        -------
        Tensor
            ``(..., centres)``: 1 where CA is L, and where the CB of isoleucine or threonine is as in proteins; -1 for
            the mirror images.
        """
        centre, *others = (self.checked(x)[..., self.centres[:, k], :] for k in range(4))
        u, v, w = (other - centre for other in others)
        return (u * torch.linalg.cross(v, w)).sum(-1).sign()

    def check(self, x: Tensor) -> None:
        """Refuse conformations whose torsions do not exist, because three atoms that define one lie on a line.

        The coordinates look at no values themselves, so that they can be recorded and compiled.

        Parameters
        ----------
        x : Tensor
            Positions ``(..., atoms, 3)``.

        Raises
        ------
        TopologyError
            Three such atoms are within 0.6 degrees of a line; the message names them.
        """
        rows = self.zmatrix
        triples = torch.cat([rows[2:, :3], rows[3:, 1:]])
        i, b, a = (self.checked(x.detach())[..., triples[:, k], :] for k in range(3))
        bent = _angle(a - b, i - b).sin().reshape(-1, len(triples)).amin(0)
        if (bent < 0.01).any():
            worst = self._listed(triples[int(bent.argmin())].tolist())
            raise TopologyError(
                f"the atoms {worst} lie on a line, so that no torsion around them exists; give zmatrix= with rows that "
                "place no atom by these three"
            )

    def parts(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bonds, angles and torsions of internal coordinates ``(..., 3 atoms - 6)``."""
        if not scripting() and (y.ndim < 1 or y.shape[-1] != self.size):
            raise TopologyError(f"these internal coordinates are {self.size} numbers, not {tuple(y.shape)}")
        atoms = len(self.labels)
        return y[..., : atoms - 1], y[..., atoms - 1 : 2 * atoms - 3], y[..., 2 * atoms - 3 :]


def internal_coordinates(
    top: Any, zmatrix: Sequence[Sequence[int]] | None = None, around: ArrayLike | None = None
) -> InternalCoordinates:
    """Bonds, angles and torsions that determine a conformation up to rigid motion.

    By default the z-matrix is chosen from the bonds. Its torsions contain phi, psi, omega and chi of every residue,
    unless a ring stands in the way: one bond of each ring belongs to no coordinate, and torsions over that bond are
    none, such as chi2 of proline. Rotating about a bond moves one torsion, because all other atoms on the bond are
    placed relative to the first. So is CB to the backbone at CA, where the sign of the torsion says L or D.

    Parameters
    ----------
    top : topology
        path, topology of mdtraj or OpenMM, mdtraj trajectory or Frames, of one molecule with all its bonds.
    zmatrix : sequence of sequences of int, optional
        The atoms that place each atom, as `InternalCoordinates` takes them.
    around : array, optional
        Positions ``(atoms, 3)`` in nm, or an OpenMM quantity, of a conformation. Torsions are then those within pi of
        its own, instead of those in (-pi, pi].

    Raises
    ------
    ConfigError
        `zmatrix` is none.
    TopologyError
        The molecule has fewer than three atoms, or its bonds leave it in pieces; `around` is of another molecule; or,
        in `around` or the coordinates of `top`, three atoms that must span a plane lie on a line.

    Notes
    -----
    A Gaussian over torsions knows nothing of their period: it tears in two what crosses the end of the range, as omega
    does at pi. `around` a typical conformation, fewer torsions cross it; circular distributions never mind.

    Examples
    --------
    >>> from bayescg.systems import peptide
    >>> topology, positions = peptide("ACE-ALA-NME")
    >>> internal = internal_coordinates(topology)
    >>> internal.size, [name for name in internal.names if "ALA" in name]
    (60, ['phi ALA-2', 'psi ALA-2'])
    >>> x = torch.tensor(positions._value)
    >>> y = internal(x)
    >>> torch.allclose(internal(internal.positions(y)), y, atol=1e-4)
    True
    >>> internal.centre_names, internal.chirality(x)
    (['ALA-2 CA'], tensor([1.]))
    """
    topology, first = read_topology(top)
    rows = choose_zmatrix(topology) if zmatrix is None else zmatrix
    labels = [atom_label(topology, i) for i in range(topology.n_atoms)]
    make = partial(InternalCoordinates, labels, rows, protein_torsions(topology), stereocentres(topology))
    internal = make()
    if first is not None:
        internal.check(torch.from_numpy(as_reference(first, topology.n_atoms, topology)))
    if around is None:
        return internal
    middle = torch.from_numpy(as_reference(around, topology.n_atoms, topology))
    internal.check(middle)
    return make(around=internal(middle)[2 * topology.n_atoms - 3 :].tolist())


def _angle(u: Tensor, v: Tensor) -> Tensor:
    """Angle between vectors, exact and with a finite gradient also near 0 and pi, where the arc cosine has neither."""
    return torch.atan2(torch.linalg.vector_norm(torch.linalg.cross(u, v), dim=-1), (u * v).sum(-1))


def _place(d: Tensor, a: Tensor, b: Tensor, r: Tensor, theta: Tensor, phi: Tensor) -> Tensor:
    """The points at distance r from b, angle theta to a and torsion phi to d."""
    axis = torch.nn.functional.normalize(b - a, dim=-1, eps=0.0)
    normal = torch.nn.functional.normalize(torch.linalg.cross(a - d, axis), dim=-1, eps=0.0)
    side = torch.linalg.cross(normal, axis)
    return b + r * (theta.sin() * (phi.cos() * side + phi.sin() * normal) - theta.cos() * axis)
