"""Internal coordinates stretched over all real numbers, so that a Gaussian over them is a density of molecules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.nn.functional import logsigmoid

from bayescg.errors import ConfigError
from bayescg.features.interface import Features, register
from bayescg.features.internal import InternalCoordinates, internal_coordinates
from bayescg.features.superpose import optimal_rotation
from bayescg.features.zmatrix import zmatrix_around
from bayescg.topologies import read_topology

__all__ = ["UnboundedCoordinates", "unbounded_coordinates"]

_SCAN = 72
_ACCESSIBLE = 10.0  # kT
_SOFT = 0.25
_SEEN = 20_000  # frames
_STEPS = {"bond": 1e-3, "angle": 1e-2, "torsion": 2e-2}  # nm and radians, of the second differences
_ROTOR = 2 * math.pi / 3
_BENT = 0.02


@register
class UnboundedCoordinates(Features):
    r"""Bonds, angles and torsions as real numbers u, about N(0, 1) where the molecule is a stiff one.

    .. math:: r = r_0 e^{a u}, \qquad \theta = \epsilon + (\pi - 2\epsilon)\,\mathrm{sigmoid}(v_0 + a u), \qquad
        \varphi = \varphi_0 + \tfrac{W}{2}\,\mathrm{erf}(a u / \sqrt2)

    Angles stay 0.02 away from 0 and pi, where torsions would not exist. Torsions stay in the window of width W around
    :math:`\varphi_0`, 2 pi but for methyl groups; where a = 1, a standard normal u is a torsion that is uniform over
    its window. The three hydrogens of a methyl group cannot be told apart: their mean torsion is kept in a third of the
    circle, and `forward` exchanges them so that it is. Volumes count all three thirds.

    Made by `unbounded_coordinates`.

    Parameters
    ----------
    internal : InternalCoordinates
    middle : sequence of float
        Values of the internal coordinates at u = 0, methyl torsions as means over the hydrogens; nm and radians.
    scale : sequence of float
        The numbers a.
    rotors : sequence of (int, int, int)
        Hydrogens of each methyl group in the order of their rows in the z-matrix.

    Examples
    --------
    >>> import bayescg as bcg
    >>> system = bcg.systems.alanine_dipeptide()
    >>> u = unbounded_coordinates(system)
    >>> x = torch.tensor(system.start, dtype=torch.float32)
    >>> u.size, u(x).shape, torch.allclose(u(u.positions(u(x))), u(x), atol=1e-2)
    (60, torch.Size([60]), True)
    """

    middle: Tensor
    scale: Tensor
    window: Tensor
    shear: Tensor
    turns: Tensor
    leaders: Tensor
    soft: Tensor
    stiff: Tensor

    def __init__(
        self,
        internal: InternalCoordinates | Mapping[str, Any],
        middle: Sequence[float],
        scale: Sequence[float],
        rotors: Sequence[Sequence[int]] = (),
    ):
        if isinstance(internal, Mapping):
            internal = InternalCoordinates(**{k: v for k, v in internal.items() if k != "type"})
        super().__init__(size=internal.size, atoms=internal.atoms)
        if len(middle) != self.size or len(scale) != self.size:
            raise ConfigError(f"middle and scale must have {self.size} numbers, one for each internal coordinate")
        self.internal, self.rotors = internal, [[int(atom) for atom in rotor] for rotor in rotors]
        atoms = len(internal.labels)
        rows = [int(row[0]) for row in internal.zmatrix[3:]]
        window, shear = torch.full((atoms - 3,), 2 * math.pi), torch.zeros(atoms - 3, atoms - 3)
        turns = torch.arange(atoms).repeat(3, 1)
        for rotor in self.rotors:
            first, *others = (rows.index(atom) for atom in rotor)
            window[first] = _ROTOR
            shear[first, others] = 1 / 3
            for k in range(3):
                turns[k, rotor] = torch.tensor([*rotor[k:], *rotor[:k]])
        leaders = torch.tensor([rows.index(rotor[0]) for rotor in self.rotors], dtype=torch.long)
        soft = [2 * atoms - 3 + k for k, a in enumerate(scale[2 * atoms - 3 :]) if a == 1.0]
        dtype = torch.get_default_dtype()
        for name, value in (
            ("middle", torch.tensor(middle, dtype=dtype)), ("scale", torch.tensor(scale, dtype=dtype)),
            ("window", window), ("shear", shear), ("turns", turns), ("leaders", leaders),
            ("soft", torch.tensor(soft, dtype=torch.long)),
            ("stiff", torch.tensor([k for k in range(self.size) if k not in soft])),
        ):  # fmt: skip
            self.register_buffer(name, value, persistent=False)

    @property
    def names(self) -> list[str]:
        """Those of the internal coordinates."""
        return self.internal.names

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds this."""
        return {
            "type": "UnboundedCoordinates", "internal": self.internal.config(), "middle": self.middle.tolist(),
            "scale": self.scale.tolist(), "rotors": self.rotors,
        }  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` in nm to ``(..., 3 atoms - 6)``."""
        x = self.checked(x)
        if len(self.rotors):
            means = torch.stack([self._turned(x[..., turn, :])[1][..., self.leaders] for turn in self.turns], -1)
            nearest = means.abs().argmin(-1)  # (..., rotors)
            order = torch.arange(x.shape[-2], device=x.device).expand(x.shape[:-1]).clone()
            for k, rotor in enumerate(self.rotors):
                order[..., rotor] = self.turns[:, rotor][nearest[..., k]]
            x = x.gather(-2, order.unsqueeze(-1).expand(x.shape))
        lengths, torsions = self._turned(x)
        bonds = len(self.internal.labels) - 1
        middle, scale = self.middle.to(x.dtype), self.scale.to(x.dtype)
        r, theta = lengths.split([bonds, bonds - 1], -1)
        edge = 1 - 4 * torch.finfo(x.dtype).eps
        inside = (2 * torsions / self.window.to(x.dtype)).clamp(-edge, edge)
        stretched = [
            (r / middle[:bonds]).log(), _logit(theta) - _logit(middle[bonds : 2 * bonds - 1]),
            math.sqrt(2) * torch.erfinv(inside),
        ]  # fmt: skip
        return torch.cat(stretched, -1) / scale

    def positions(self, u: Tensor) -> Tensor:
        """Conformation ``(..., atoms, 3)`` in nm of ``(..., 3 atoms - 6)``, in the frame of `InternalCoordinates`."""
        return self.internal.positions(self.bounded(u))

    def bounded(self, u: Tensor) -> Tensor:
        """Internal coordinates ``(..., 3 atoms - 6)``, in nm and radians."""
        r0, angle0, torsion0 = self.internal.parts(self.middle.to(u.dtype))
        r, angle, torsion = self.internal.parts(self.scale.to(u.dtype) * u)
        turned = 0.5 * self.window.to(u.dtype) * torch.erf(torsion / math.sqrt(2))
        turned = turned - turned @ self.shear.to(u.dtype).T
        bent = _bent(_logit(angle0) + angle)
        return torch.cat([r0 * r.exp(), bent, torsion0 + turned], -1)

    def log_abs_det_jacobian(self, u: Tensor) -> Tensor:
        """Logarithm of the volume of conformations per volume of u, ``(...)``, without rigid motions.

        As in `InternalCoordinates`; all exchanges of methyl hydrogens are counted.
        """
        y = self.bounded(u)
        _, angle, torsion = self.internal.parts(self.scale.to(u.dtype) * u)
        v = _logit(self.internal.parts(self.middle.to(u.dtype))[1]) + angle
        stretch = self.internal.parts(y)[0].log().sum(-1) - 0.5 * torsion.square().sum(-1)
        stretch = stretch + (math.log(math.pi - 2 * _BENT) + logsigmoid(v) + logsigmoid(-v)).sum(-1)
        constant = self.scale.log().sum() + (self.window / math.sqrt(2 * math.pi)).log().sum()
        copies = len(self.rotors) * math.log(3)
        return self.internal.log_abs_det_jacobian(y) + stretch + constant.to(u.dtype) + copies

    def reference(self) -> Distribution:
        """The standard normal density: soft torsions are uniform, the others as wide as they are at the temperature."""
        centre = torch.zeros_like(self.middle)
        return Independent(Normal(centre, torch.ones_like(centre), validate_args=False), 1, validate_args=False)

    @property
    def readable_size(self) -> int:
        """How many numbers `readable` gives."""
        return len(self.stiff) + 2 * len(self.soft)

    def readable(self, u: Tensor) -> Tensor:
        """What a network should see: u of stiff coordinates, cosine and sine of soft torsions.

        The result is ``(..., size)`` and one more for each soft torsion, both ends of whose window are one
        place.
        """
        turn = math.pi * torch.erf(u[..., self.soft] / math.sqrt(2))
        return torch.cat([u[..., self.stiff], turn.cos(), turn.sin()], -1)

    def around(self, u: Tensor, atoms: Sequence[int], places: Tensor) -> Tensor:
        """Conformations ``(..., atoms, 3)`` of ``(..., 3 atoms - 6)``, turned so that some atoms are at their `places`.

        As nearly as may be, where these are no places of theirs, ``(..., these atoms, 3)``. Hydrogens of methyl groups
        are exchanged at random.
        """
        x = self.exchanged(self.positions(u))
        centre, middle = x[..., atoms, :].mean(-2, keepdim=True), places.mean(-2, keepdim=True)
        turn = optimal_rotation((x[..., atoms, :] - centre).mT @ (places - middle))
        return (x - centre) @ turn.mT + middle

    def exchanged(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` with the hydrogens of each methyl group turned at random: no energy tells."""
        order = torch.arange(x.shape[-2], device=x.device).expand(x.shape[:-1]).clone()
        for rotor in self.rotors:
            turn = torch.randint(3, x.shape[:-2], device=x.device)
            order[..., rotor] = self.turns[:, rotor][turn]
        return x.gather(-2, order.unsqueeze(-1).expand(x.shape))

    def part(self, atoms: Sequence[int]) -> tuple[UnboundedCoordinates, list[int]]:
        """Those of some atoms that are placed by each other alone, and where they stand among these coordinates.

        Raises
        ------
        ConfigError
            One of the atoms is placed by an atom that is none of them.
        """
        rows = [[atom for atom in row if atom >= 0] for row in self.internal.zmatrix.tolist()]
        number = {atom: k for k, atom in enumerate(atoms)}
        kept_rows = [row for row in rows if row[0] in number]
        if any(atom not in number for row in kept_rows for atom in row):
            raise ConfigError("these atoms are not placed by each other alone")
        places = [k for k, row in enumerate([*rows[1:], *rows[2:], *rows[3:]]) if row[0] in number]
        labels = [self.internal.labels[atom] for atom in atoms]
        internal = InternalCoordinates(labels, [[number[atom] for atom in row] for row in kept_rows])
        return UnboundedCoordinates(internal, self.middle[places].tolist(), self.scale[places].tolist()), places

    def _turned(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Bonds and angles, and torsions from the middle of their windows, of methyl groups their means."""
        y = self.internal(x)
        lengths, torsion = y.split([2 * len(self.internal.labels) - 3, len(self.internal.labels) - 3], -1)
        torsion = torsion - self.internal.parts(self.middle.to(x.dtype))[2]
        torsion = torch.atan2(torsion.sin(), torsion.cos())
        mean = torsion + torsion @ self.shear.to(x.dtype).T
        return lengths, torch.atan2(mean.sin(), mean.cos())


def unbounded_coordinates(system: Any, first: Sequence[int] | None = None) -> UnboundedCoordinates:
    """Coordinates for a generator of a molecule, from the energies of its system, or from frames.

    Of a system, a second difference of the energy, around the structure that it starts from, gives each coordinate its
    thermal width. A torsion is soft where a rigid rotation reaches more than a quarter of its window at a cost of less
    than 10 kT; the window's ends then lie where the rotation costs most. Hydrogens that hang three on one atom, and
    whose exchange leaves the energy as it is, share a third of the circle.

    Of frames, a coordinate is as wide as it is seen to be. A torsion is soft where it is seen in more than a quarter
    of its window, whose ends then lie where it is seen least. Any three hydrogens on one atom share a third of the
    circle.

    Parameters
    ----------
    system : System or Frames
        A molecule with ``start``, a structure near a minimum, whose temperature sets the widths; or frames of one
        molecule, of all its atoms or of some that are bonded to each other, not weighted.
    first : sequence of int, optional
        Three atoms or more that are placed by each other alone, in this order, and all others around them.

    Raises
    ------
    ConfigError
        This is no molecular system and no frames, it has no structure, or the energy around it is not finite.
    TopologyError
        The atoms of the frames are not bonded to each other, or three that must span a plane lie on a line.

    Examples
    --------
    >>> import bayescg as bcg
    >>> u = unbounded_coordinates(bcg.systems.alanine_dipeptide())
    >>> [u.names[i] for i in u.soft][:2], len(u.rotors)
    (['phi ALA-2', 'psi ALA-2'], 3)
    """
    if hasattr(system, "gather") and getattr(system, "topology", None) is not None:
        return _of_frames(system, first)
    if getattr(system, "topology", None) is None or not hasattr(system, "energy"):
        raise ConfigError(
            f"a {type(system).__name__} has no energies of a molecule, from which the widths are taken: give a system, "
            "such as bcg.systems.from_openmm(openmm_system, topology, temperature, positions), frames of a molecule, "
            "or take bcg.features.internal_coordinates(topology)"
        )
    internal = internal_coordinates(system.topology, _rows(system.topology, first))
    if getattr(system, "start", None) is None:
        raise ConfigError("the system has no positions, a structure near a minimum, from which widths could be taken")
    x = torch.as_tensor(system.start, dtype=torch.float64)
    internal.check(x)
    y = internal(x)

    def cost(change: Tensor) -> Tensor:
        moved = internal.positions(y + change)
        return (system.energy(moved.flatten(-2)) / system.kT).double()

    steps = torch.diag(torch.tensor([_STEPS[kind] for kind in internal.kinds], dtype=torch.float64))
    here = cost(torch.zeros_like(y))
    curvature = (cost(steps) + cost(-steps) - 2 * here) / steps.diagonal().square()
    if not (curvature.isfinite().all() and here.isfinite()):
        raise ConfigError("the energy around the positions of the system is not finite: give it a minimised structure")
    width = curvature.clamp_min(1e-12).rsqrt()
    middle, atoms = y.clone(), len(internal.labels)
    scale = torch.cat([
        (width[: atoms - 1] / y[: atoms - 1]).clamp_max(0.1),
        (width * math.pi / (y * (math.pi - y)))[atoms - 1 : 2 * atoms - 3].clamp_max(0.5),
        width[2 * atoms - 3 :] / math.sqrt(2 * math.pi),
    ])  # fmt: skip
    rotors = _rotors(system, internal, x)
    rows = [int(row[0]) for row in internal.zmatrix[3:]]
    leading = {rows.index(rotor[0]): rotor for rotor in rotors}
    for number in range(atoms - 3):
        where, window = 2 * atoms - 3 + number, _ROTOR if number in leading else 2 * math.pi
        turn = torch.zeros(_SCAN, internal.size, dtype=torch.float64)
        turn[:, where] = torch.arange(_SCAN) * window / _SCAN
        costs = cost(turn)
        if float((costs - costs.min() < _ACCESSIBLE).double().mean()) > _SOFT:
            scale[where] = 1.0
            middle[where] = y[where] + turn[int(costs.argmax()), where] - 0.5 * window
        elif number in leading:
            scale[where] *= 3
    scale[2 * atoms - 3 :].clamp_max_(1.0)
    for rotor in rotors:  # a methyl group's middle is that of its hydrogens, whose own are 120 apart
        for atom in rotor[1:]:
            other = 2 * atoms - 3 + rows.index(atom)
            middle[other] = math.copysign(_ROTOR, float(y[other]))
    return UnboundedCoordinates(internal, middle.tolist(), scale.tolist(), rotors)


def _of_frames(frames: Any, first_atoms: Sequence[int] | None) -> UnboundedCoordinates:
    """As wide as at most 20 000 frames are, evenly spaced."""
    rows = np.linspace(0, len(frames) - 1, min(len(frames), _SEEN)).astype(np.int64)
    x = torch.as_tensor(frames.gather(rows)).double()
    internal = internal_coordinates(frames, _rows(frames.topology, first_atoms))
    internal.check(x)
    r, theta, torsion = internal.parts(internal(x))
    rotors = _hydrogens(frames.topology, internal)
    placed = [int(row[0]) for row in internal.zmatrix[3:]]
    turns = torch.ones(len(placed), dtype=torch.float64)  # of which a torsion's window is one
    for first, *others in ([placed.index(atom) for atom in rotor] for rotor in rotors):
        sides = torsion[:, others].mean(0).sign() * _ROTOR
        torsion[:, first] += (torsion[:, others] - sides).sum(-1) / 3
        turns[first] = 3.0
    around = turns * torsion
    middle = torch.atan2(around.sin().mean(0), around.cos().mean(0))
    offset = torch.atan2((around - middle).sin(), (around - middle).cos())  # of the window, as of a circle
    soft = torch.zeros(len(placed), dtype=torch.bool)
    for number, column in enumerate(offset.T):
        counts = torch.histc(column, _SCAN, -math.pi, math.pi)
        soft[number] = float((counts > 0).double().mean()) > _SOFT
        if soft[number]:
            near = torch.stack([counts.roll(k) for k in range(-_SCAN // 16, _SCAN // 16 + 1)]).sum(0)
            middle[number] += 2 * math.pi * (int(near.argmin()) + 0.5) / _SCAN  # half a turn from there
    torsions = torch.atan2(middle.sin(), middle.cos()) / turns
    centre = torch.cat([r.log().mean(0).exp(), _bent(_logit(theta).mean(0)), torsions]).tolist()
    for _first, *others in ([placed.index(atom) for atom in rotor] for rotor in rotors):
        for other in others:
            where = internal.size - len(placed) + other
            centre[where] = math.copysign(_ROTOR, centre[where])
    plain = UnboundedCoordinates(internal, centre, [1.0] * internal.size, rotors)
    width = plain(x).std(0, correction=0).clamp(1e-6, 1.0)
    width[internal.size - len(placed) :][soft] = 1.0
    return UnboundedCoordinates(internal, centre, width.tolist(), rotors)


def _rows(topology: Any, first: Sequence[int] | None) -> list[list[int]] | None:
    return None if first is None else zmatrix_around(read_topology(topology)[0], first)


def _hydrogens(topology: Any, internal: InternalCoordinates) -> list[list[int]]:
    """Groups of three hydrogens on one atom, the first of each placed by the others."""
    hydrogen = {a.index for a in topology.atoms if a.element is not None and a.element.symbol == "H"}
    rows = [[int(atom) for atom in row] for row in internal.zmatrix[3:]]
    groups = ([first, *(row[0] for row in rows if row[1:] == [b, a, first])] for first, b, a, _ in rows)
    return [group for group in groups if len(group) == 3 and hydrogen.issuperset(group)]


def _bent(logit: Tensor) -> Tensor:
    return _BENT + (math.pi - 2 * _BENT) * torch.sigmoid(logit)


def _logit(angle: Tensor) -> Tensor:
    return torch.logit((angle - _BENT) / (math.pi - 2 * _BENT))


def _rotors(system: Any, internal: InternalCoordinates, x: Tensor) -> list[list[int]]:
    """Groups of three hydrogens on one atom that no energy tells apart, the first of each placed by the others."""
    rotors = []
    for group in _hydrogens(read_topology(system.topology)[0], internal):
        swapped = x.clone()
        swapped[group] = x[[*group[1:], group[0]]]
        if abs(float(system.energy(swapped.flatten()) - system.energy(x.flatten()))) < 1e-6 * system.kT:
            rotors.append(group)
    return rotors
