"""What models of a potential energy share: whose it is, at which temperature, and how a file keeps that."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from torch import Tensor

from bayescg.arguments import check_counts, check_positive, stated
from bayescg.data import evenly, heavy_force
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.modelling.model import Model
from bayescg.modelling.model_arguments import not_in_a_file
from bayescg.topologies import read_topology
from bayescg.units import kT

if TYPE_CHECKING:
    import mdtraj

    from bayescg.data import Frames

__all__ = ["HasPotential", "PotentialModel"]


@runtime_checkable
class HasPotential(Protocol):
    """Models of a potential energy, of which `Fit.system` makes a System.

    Attributes
    ----------
    dim : int or None
        Number of flat coordinates; None before `setup`.
    temperature : float or None
        K; energies are then kJ/mol, and coordinates nm.
    temperature_kT : float or None
        kT in the unit of the energy, of a toy system: one of the two.
    topology : mdtraj.Topology or None
        Of the atoms or beads.
    """

    dim: int | None
    temperature: float | None
    temperature_kT: float | None
    topology: mdtraj.Topology | None

    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)`` of positions ``(n, atoms, 3)`` or flat coordinates ``(n, dim)``, differentiable twice."""
        ...


class PotentialModel(Model):
    """Base of models that learn a potential energy of the positions of frames.

    A subclass takes `topology`, `dim`, `temperature` and `temperature_kT` among its arguments, hands them on to
    `begin_potential` and writes `potential`. What is None the training frames tell.

    Attributes
    ----------
    dim, temperature, temperature_kT, topology
        As in :class:`HasPotential`.
    supplied : str
        Name of an argument that is a function or module of the user's, of which a file keeps only what it is called.
    """

    supplied: ClassVar[str] = ""
    dim: int | None
    temperature: float | None
    temperature_kT: float | None
    topology: mdtraj.Topology | None

    def begin_potential(
        self, topology: Any, dim: int | None, temperature: float | None, temperature_kT: float | None
    ) -> None:
        """Take what is known beforehand.

        Raises
        ------
        ConfigError
            A number is out of range, or both temperatures are given.
        TopologyError
            `topology` is none.
        """
        if dim is not None:
            check_counts(dim=(dim, 1))
        temperatures = stated(temperature=temperature, temperature_kT=temperature_kT)
        if len(temperatures) > 1:
            raise ConfigError("give either temperature (K) or temperature_kT (reduced units), not both")
        check_positive(**temperatures)
        self.topology = None if topology is None else read_topology(topology)[0]
        self.dim, self.temperature, self.temperature_kT = dim, temperature, temperature_kT

    @property
    def kT(self) -> float:
        """Thermal energy in the unit of the energy.

        Raises
        ------
        ConfigError
            It is not known before the model has seen frames.
        """
        if self.temperature_kT is not None:
            return self.temperature_kT
        if self.temperature is None:
            raise ConfigError(f"this {type(self).__name__} has seen no frames: give it temperature= or temperature_kT=")
        return kT(self.temperature)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration.

        Raises
        ------
        ConfigError
            It has something of the user's.
        """
        if cls.supplied and config[cls.supplied] is not None:
            raise not_in_a_file(cls, cls.supplied, config[cls.supplied])
        return super().from_config(config)

    def setup(self, frames: Frames) -> None:
        """Take topology, temperature and number of coordinates.

        Raises
        ------
        DataError
            The frames have no temperature, or another one or other coordinates than the model; or particles could see
            each other across their box.
        TopologyError
            They are of other atoms than the model's topology.

        Warns
        -----
        UserWarning
            The forces of a single frame outweigh those of all others.
        """
        if words := heavy_force(frames):
            warnings.warn(words, stacklevel=2)
        x = frames.gather([0])
        if self.dim not in (None, x.size):
            raise DataError(f"this {type(self).__name__} is of {self.dim} coordinates, these frames have {x.size}")
        if self.temperature is None and self.temperature_kT is None:
            self.temperature, self.temperature_kT = frames.temperature, frames.temperature_kT
        if abs(frames.kT / self.kT - 1) > 1e-3:
            raise DataError(f"the frames are of kT = {frames.kT:.5g}, this {type(self).__name__} of {self.kT:.5g}")
        self._check_atoms(frames)
        _check_box(frames)
        self.dim, self.topology = x.size, self.topology or frames.topology

    def _check_atoms(self, frames: Frames) -> None:
        if self.topology is None or frames.topology is None:
            return
        if self.topology.n_atoms != frames.topology.n_atoms:
            raise TopologyError(
                f"this {type(self).__name__} is of {self.topology.n_atoms} atoms or beads, the frames are of "
                f"{frames.topology.n_atoms}"
            )
        for a, b in zip(self.topology.atoms, frames.topology.atoms, strict=True):
            if (a.name, a.residue.name) != (b.name, b.residue.name):
                raise TopologyError(
                    f"atom or bead {a.index} is {a} in this {type(self).__name__} and {b} in the frames"
                )


def _check_box(frames: Frames) -> None:
    """Refuse frames in which an image of a particle may be nearer than the particle."""
    if frames.box is None:
        return
    rows = evenly(frames, 1000)
    x, box = frames.gather(rows), np.broadcast_to(np.asarray(frames.box), (len(frames), 3, 3))[rows]
    wide = np.ptp(x.reshape(len(rows), -1, 3), 1).max(1) > 0.5 / np.linalg.norm(np.linalg.inv(box), axis=1).max(1)
    if wide.any():
        raise DataError(
            f"frame {rows[wide.argmax()]} has particles further apart than half its box, and a learned potential sees "
            "no periodic images: of one molecule, whole, leave the box out, dataclasses.replace(frames, box=None)"
        )
