"""Backmapping: the atoms of a molecule around the beads of a coarse-grained model, as a density that is learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, widths
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError, TopologyError
from bayescg.features import Beads, UnboundedCoordinates, beads, unbounded_coordinates
from bayescg.modelling import Batch, Model
from bayescg.systems import alanine_dipeptide
from bayescg.topologies import read_topology


class Backmapping(Model):
    r"""Probabilistic backmapping with a given map (Schöberl, Zabaras, Koutsourelakis 2017), by a normalising flow.

    A frame x of all atoms is its beads R, which are some of the atoms, and what is around them. The beads are placed by
    bonds, angles and torsions v of their own, every other atom by an atom it is bonded to and two more,

    .. math:: p(x \mid R)\,dx = p(u \mid v(R))\,du, \qquad
        p(u \mid v) = p(t \mid v)\, p(s \mid v, t),

    where u are the bonds, angles and torsions of the other atoms, stretched to real numbers, t those torsions among
    them that turn freely, and s all others. Both densities are flows of splines that read v, circular where angles are;
    torsions begin as they are distributed over all frames.
    A potential of the beads (:class:`ForceMatchingPotential`), times this density, is a density of all atoms, of which
    relative entropy is the sum of the two parts' own: each is learned by itself.

    Atoms around beads leave these where they are; averages over them have error bars by refits
    (:func:`bayescg.sampling.backmapped`). Bonds of rings, or of residues whose beads are not bonded, come out too wide.

    Parameters
    ----------
    mapping : Beads or sequence
        Three or more beads, each of them one atom: of :func:`bayescg.features.beads`, or what that makes beads of.
    topology : topology, optional
        Of all atoms, one molecule; None: the frames tell.
    layers, bins : int
        Coupling layers of either flow, and bins of their splines.
    hidden : sequence of int
        Widths of the hidden layers of the networks.
    coordinates : UnboundedCoordinates, optional
        Of all atoms, beads first; by default those of the training frames.

    Raises
    ------
    ConfigError
        A bead is no single atom, or the coordinates place beads by other atoms.

    References
    ----------
    M. Schöberl, N. Zabaras, P.-S. Koutsourelakis, "Predictive coarse-graining", J. Comput. Phys. 333, 49 (2017), eqs.
    (1), (2), with a map that is known; M. S. Shell, J. Chem. Phys. 129, 144108 (2008), for the relative entropy.

    Examples
    --------
    >>> model, frames, _ = Backmapping.example()
    >>> model.setup(frames)
    >>> beads = model.mapping.bead_positions(torch.as_tensor(frames.positions))
    >>> model.around(beads).shape
    torch.Size([32, 22, 3])
    """

    conditional = True
    uncertainty = "bootstrap"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 1000, "batch_size": 256, "learning_rate": 5e-3}
    citation = "Schöberl, Zabaras, Koutsourelakis, J. Comput. Phys. 333, 49 (2017), doi:10.1016/j.jcp.2016.12.041"
    coordinates: UnboundedCoordinates | None
    atoms: list[int]
    of_beads: UnboundedCoordinates
    bead_places: Tensor
    others: Tensor
    soft: Tensor
    rest: Tensor
    turned: Tensor

    def __init__(
        self,
        mapping: Any,
        topology: Any = None,
        layers: int = 4,
        bins: int = 8,
        hidden: Sequence[int] = (64, 64),
        coordinates: UnboundedCoordinates | None = None,
    ):
        super().__init__()
        check_counts(layers=(layers, 1), bins=(bins, 2))
        self.mapping, self.coordinates = mapping, coordinates
        self.layers, self.bins, self.hidden = layers, bins, widths(hidden)
        self.topology = None if topology is None else read_topology(topology)[0]
        if self.topology is not None or isinstance(mapping, Beads):
            self._map(self.topology)
        if coordinates is not None:
            self._over(coordinates)

    def _map(self, topology: Any) -> None:
        """Take the beads, and the atom that each is."""
        if not isinstance(self.mapping, Beads):
            self.mapping = beads(topology, self.mapping)
        self.atoms = _atoms(self.mapping)
        if not 3 <= len(self.atoms) < self.mapping.columns:
            raise ConfigError(f"{len(self.atoms)} beads of {self.mapping.columns} atoms: give three, and not all")

    def _over(self, coordinates: UnboundedCoordinates) -> None:
        """Make the flows of the coordinates that are not the beads' own."""
        self.of_beads, places = coordinates.part(self.atoms)
        self.reach = nets.TrainingRange(len(places))
        others = [k for k in range(coordinates.size or 0) if k not in places]
        soft = [k for k, place in enumerate(others) if place in coordinates.soft.tolist()]
        rest = [k for k in range(len(others)) if k not in soft]
        for name, values in {"bead_places": places, "others": others, "soft": soft, "rest": rest}.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.long), persistent=False)
        context, turning, stiff = self.of_beads.readable_size, len(soft), len(rest)
        sizes: Any = {"layers": self.layers, "bins": self.bins, "hidden": self.hidden}
        self.torsions = nets.SplineFlow([True] * turning, context=context, **sizes) if turning else None
        self.register_buffer("turned", torch.zeros(turning, 3 * self.bins - 1))
        self.flow = nets.SplineFlow([False] * stiff, context=context + 2 * turning, **sizes)

    def inputs(self, x: Tensor) -> Tensor:
        """Coordinates ``(n, 3 atoms - 6)``, those of beads among them, of positions ``(n, atoms, 3)``."""
        assert self.coordinates is not None
        return self.coordinates(x)

    def setup(self, frames: Frames) -> None:
        """Take coordinates, and their middles and widths, from the training frames.

        Raises
        ------
        TopologyError
            The frames are of other atoms than the mapping, or of no single molecule.
        """
        if frames.topology is None:
            raise TopologyError("a backmapping is one of molecules, and these frames have no topology")
        self._map(frames.topology)
        if frames.topology.n_atoms != (atoms := self.mapping.columns):
            raise TopologyError(f"the mapping is one of {atoms} atoms, these frames are of {frames.topology.n_atoms}")
        self.topology = self.topology or frames.topology
        if self.coordinates is None:
            self.coordinates = unbounded_coordinates(frames, self.atoms)
            self._over(self.coordinates)
        self.to((x := torch.as_tensor(frames.gather(evenly(frames)))).dtype)
        self.reach.set((u := self.inputs(x))[:, self.bead_places])
        u = u[:, self.others]
        s, turns = u[:, self.rest], nets.BOUND * torch.erf(u[:, self.soft] / 2**0.5)
        self.flow.place(s.mean(0), s.std(0, correction=0).clamp_min(1e-6))
        for knots, turn in zip(self.turned, turns.T, strict=True):
            knots.copy_(nets.evening_knots(turn, torch.ones_like(turn), self.bins))

    def density(self, v: Tensor) -> dist.TorchDistribution:
        """p(u | v) of coordinates v of beads, ``(n, 3 beads - 6)``."""
        read, first = self.of_beads.readable(v), self.torsions
        if first is None:
            return self.flow(read)
        return nets.TorsionsFirst(first, self.flow, self.soft, self.rest, read, self.turned)

    def model(self, batch: Batch) -> None:
        """U ~ p(u | v)."""
        assert batch.x is not None
        with batch.plate("frames"):
            pyro.sample("u", self.density(batch.x[:, self.bead_places]), obs=batch.x[:, self.others])

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""

    def around(self, beads: Tensor) -> Tensor:
        """Atoms drawn around beads ``(n, beads, 3)``: positions ``(n, atoms, 3)`` in nm, the beads where they were."""
        assert self.coordinates is not None
        u = (v := self.of_beads(beads)).new_empty(len(beads), len(self.bead_places) + len(self.others))
        u[:, self.bead_places], u[:, self.others] = v, self.density(v)()
        return self.coordinates.around(u, self.atoms, beads)

    @classmethod
    def example(cls) -> tuple[Backmapping, Any, None]:
        """The atoms of alanine dipeptide around its backbone, in small vibrations about one structure."""
        system = alanine_dipeptide()
        mapping = beads(system, ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"])
        x = system.start + 0.002 * torch.randn(32, 22, 3, generator=torch.Generator().manual_seed(0)).numpy()
        frames = Frames.from_numpy(x, unit="nm", temperature=system.temperature, topology=system.topology)
        return cls(mapping, layers=1, bins=4, hidden=(8,)), frames, None


def _atoms(mapping: Beads) -> list[int]:
    """The atom of each bead."""
    rows = [row.nonzero().flatten().tolist() for row in mapping.matrix]
    for label, row in zip(mapping.labels, rows, strict=True):
        if len(row) != 1:
            raise ConfigError(
                f"bead {label} is the centre of {len(row)} atoms: make each bead an atom, as "
                'bcg.features.beads(topology, "CA") does'
            )
    return [row[0] for row in rows]
