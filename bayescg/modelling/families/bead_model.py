"""What potentials of mapped beads share: descriptors, the energy put in beforehand, and what frames are worth."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bayescg.arguments import check_choice
from bayescg.data import Frames, evenly, statistical_inefficiency
from bayescg.errors import ConfigError, DataError
from bayescg.features import invariants
from bayescg.features.invariants import Invariants
from bayescg.modelling.batch import Batch
from bayescg.modelling.potential_model import PotentialModel
from bayescg.nets import (
    MLP,
    BondedEnergy,
    HarmonicEnergy,
    LinearEvidence,
    LinearFit,
    QuadratureBox,
    SplineEnergy,
    Standardise,
    TrainingRange,
    forces_of,
    random_net,
)
from bayescg.topologies import bead_kinds_of

__all__ = ["BeadModel"]


class BeadModel(PotentialModel):
    """Base of potentials of beads, or of flat coordinates, from mapped forces, the density of frames, or both.

    A subclass takes `topology`, `prior`, `prior_parameters`, `evidence`, `noise`, `dim`, `temperature` and
    `temperature_kT` among its arguments, hands all but `noise` on to `begin_beads`, and writes `build`, which makes its
    networks of so many descriptors.

    Frames of one trajectory are worth fewer independent ones in the density, one in each statistical inefficiency of
    the frames, than in the forces, where the memory of what their noise does to the energies counts, whose smooth parts
    remember longest. Both are measured. What that leaves out: later positions follow the noise, so that error bars are
    a little narrow while a path has crossed its barrier a few times only (intervals of 90 % held 73 to 88 % of 60 paths
    of 4000 frames worth 600, 85 to 92 % of paths four times as long; 83 to 90 % under the noise of another path).

    Attributes
    ----------
    descriptors : Invariants or None
        Of beads; None: flat coordinates.
    scale : Standardise
        Of descriptors.
    reach : TrainingRange
        Of distances, or of flat coordinates.
    springs : BondedEnergy, HarmonicEnergy or None
        The prior energy, in kT.
    box : QuadratureBox or None
        Over which the density is normalised, where it counts.
    groups : list of int
        The bead of each coordinate, or of flat ones its number.
    memory_of_forces, memory_of_frames : Tensor
        Statistical inefficiencies.
    """

    prior: str | None
    prior_parameters: str
    evidence: str
    noise: str
    scale: Standardise
    kinds: Tensor
    first_noise: Tensor
    memory_of_forces: Tensor
    memory_of_frames: Tensor

    def begin_beads(
        self,
        topology: Any,
        prior: str | None,
        prior_parameters: str,
        evidence: str,
        dim: int | None,
        temperature: float | None,
        temperature_kT: float | None,
    ) -> None:
        """Take what is known beforehand.

        Raises
        ------
        ConfigError
            As :meth:`PotentialModel.begin_potential`; or there is no such prior energy, or the density that counts has
            no normaliser.
        """
        check_choice(prior=(prior, ("auto", "bonded", "harmonic", None)))
        check_choice(prior_parameters=(prior_parameters, ("fixed", "uncertain")))
        check_choice(evidence=(evidence, ("forces", "density", "joint")))
        if prior is None and prior_parameters != "fixed":
            raise ConfigError(f"prior_parameters={prior_parameters!r} are those of a prior energy; use prior='auto'")
        if prior is None and evidence != "forces":
            raise ConfigError(
                f"evidence={evidence!r} needs a prior energy: without one the energy stays finite far from the frames, "
                "so that its density has no normaliser Z; use prior='auto', or evidence='forces'"
            )
        self.prior, self.prior_parameters, self.evidence = prior, prior_parameters, evidence
        self.begin_potential(topology, dim, temperature, temperature_kT)
        if self.dim is not None:
            self._sized(self.dim)

    @abstractmethod
    def build(self, size: int) -> None:
        """Make the networks, of so many descriptors."""

    @abstractmethod
    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)``, in the unit of kT, of positions ``(n, beads, 3)`` or flat coordinates ``(n, dim)``."""

    def _sized(self, dim: int) -> None:
        chain = self.topology is not None
        if self.prior == ("harmonic" if chain else "bonded"):
            raise ConfigError(f"prior={self.prior!r} is not for {'beads' if chain else 'flat coordinates'}: use 'auto'")
        if chain and self.evidence != "forces":
            raise ConfigError(
                f"evidence={self.evidence!r}: the density of {dim} coordinates of beads has no normaliser that could "
                "be computed; use evidence='forces'"
            )
        self.descriptors: Invariants | None = invariants(self.topology) if chain else None
        size = dim if self.descriptors is None else self.descriptors.size
        self.scale = Standardise(size)
        self.reach = TrainingRange(size if self.descriptors is None else len(self.descriptors.pairs))
        self.springs: BondedEnergy | HarmonicEnergy | None = None
        if self.prior is not None:
            bonds = [(a.index, b.index) for a, b in self.topology.bonds] if self.topology is not None else []
            uncertain = self.prior_parameters == "uncertain"
            self.springs = BondedEnergy(dim // 3, bonds, uncertain) if chain else HarmonicEnergy(dim, uncertain)
        self.box = None if self.evidence == "forces" else QuadratureBox(dim)
        self.groups = [d // 3 if chain else d for d in range(dim)]
        for name in ("memory_of_forces", "memory_of_frames"):
            self.register_buffer(name, torch.ones(()))
        self.build(size)
        if self.evidence != "density":
            self.log_noise = nn.Parameter(torch.zeros(self.groups[-1] + 1))
            self.state_noise = MLP(size, 1, (16,)) if self.noise == "state" else None
        self.register_buffer("first_noise", torch.ones(self.groups[-1] + 1))

    def number_beads(self) -> int:
        """Number the kinds of beads, and say how many there are.

        Raises
        ------
        ConfigError
            The coordinates are none of beads.
        """
        if self.topology is None:
            raise ConfigError(
                "form='neighbours' is for beads, whose topology says of which kinds they are: flat coordinates have no "
                "neighbours; use form='network' or 'splines'"
            )
        kinds = bead_kinds_of(self.topology)
        self.register_buffer("kinds", torch.tensor([sorted(set(kinds)).index(k) for k in kinds]), persistent=False)
        return len(set(kinds))

    def random_springs(self) -> Callable[..., Tensor] | None:
        """The prior energy, its parameters sampled where they are uncertain."""
        return None if self.springs is None else random_net(self, "springs", self.springs.prior)

    def read(self, x: Tensor) -> Tensor:
        """Descriptors ``(..., size)`` of flat coordinates."""
        return x if self.descriptors is None else self.descriptors(x.unflatten(-1, (-1, 3)))

    def width(self, x: Tensor) -> Tensor:
        """Standard deviation of the noise of each force, in kT per length, ``(n, dim)``."""
        log_width = self.log_noise.repeat_interleave(x.shape[-1] // len(self.log_noise)).expand(x.shape)
        if self.state_noise is not None:
            log_width = log_width + self.state_noise(self.scale(self.read(x)))
        return log_width.exp()

    def reset(self) -> None:
        """Draw fresh weights; the noise is that of the splines, alike everywhere."""
        super().reset()
        if self.evidence != "density":
            with torch.no_grad():
                self.log_noise.copy_(self.first_noise.log())
            if self.state_noise is not None:
                for p in self.state_noise[-1].parameters():
                    nn.init.zeros_(p)

    def strays(self, x: Tensor) -> str:
        """The first of configurations ``(n, dim)`` far beyond the training frames, in words; empty where none is."""

        def name(column: int) -> str:
            if self.descriptors is None or self.topology is None:
                return f"coordinate {column + 1} is"
            a, b = (self.topology.atom(i) for i in self.descriptors.pairs[column].tolist())
            return f"beads {a} and {b} are apart by"

        return self.reach.strays(self.read(x.to(self.reach.low))[:, : len(self.reach.low)], name)

    def inefficiency(self, frames: Frames) -> float:
        """That of the influence of the forces on the energies, or of the frames where their density counts."""
        return float(self.memory_of_forces if self.evidence == "forces" else self.memory_of_frames)

    def share(self, batch: Batch) -> Tensor | float:
        """How many more independent terms forces have than the density, by whose memory frames are weighed, if any."""
        weighed = self.evidence == "joint" and batch.weight is not None
        return self.memory_of_frames / self.memory_of_forces if weighed else 1.0

    def residuals(self, batch: Batch) -> Tensor | None:
        """What the forces leave, where they are of several coordinates: a torsion turns four beads at once.

        Noises of bonded beads go together, by correlations up to .9 in alanine dipeptide, and error bars by independent
        ones are 1.7 times too small along its torsions.
        """
        if self.evidence != "forces" or len(self.groups) == 1:
            return None
        assert batch.x is not None
        assert batch.forces is not None
        left = batch.forces.flatten(1) - forces_of(self.potential, batch.x)
        return (left / (self.kT * self.width(batch.x))).detach().flatten()

    def setup(self, frames: Frames) -> None:
        """Take scales and prior energy.

        Raises
        ------
        DataError
            The frames have no forces, or two beads lie in one place, or three in a line.
        """
        super().setup(frames)
        if not hasattr(self, "scale"):
            self._sized(frames.gather([0]).size)
        if self.evidence != "density" and frames.forces is None:
            raise DataError(
                "the frames have no forces: bcg.sampling.mapped_forces(frames, system, mapping) maps those of the "
                "atoms, and computes them where there are none; of one or two coordinates evidence='density' needs none"
            )
        rows = evenly(frames)
        x, weight = _sample(frames, rows)
        y = self.read(x)
        if self.descriptors is not None:
            self.descriptors.check_positions(x.unflatten(-1, (-1, 3)), rows.tolist())
        self.to(x.dtype)
        self.scale.set(y.mean(0), y.std(0, correction=0))
        self.reach.set(y[:, : len(self.reach.low)])
        if self.springs is not None:
            self.springs.measure(x, weight)
        if self.box is not None and self.springs is not None:
            self.box.fill_around(self.springs.get_buffer("mean"), self.springs.get_buffer("width"))

    def first_fit(self, frames: Frames, knots: int) -> tuple[SplineEnergy, LinearFit]:
        """Splines of so many knots, fitted in closed form; on the way noise and worth of frames are measured."""
        rows = evenly(frames)
        splines = SplineEnergy.covering(self.read(_sample(frames, rows)[0]), knots)
        linear = self._linear(frames, rows, splines)
        if frames.order is not None and len(frames) >= 10:
            first = np.arange(min(len(frames), len(rows)))
            runs = frames.blocks(len(frames))[first]
            if self.box is not None:
                x = frames.gather(first).reshape(len(first), -1)
                self.memory_of_frames.fill_(statistical_inefficiency(x, runs))
            if self.evidence != "density":
                fit = linear.solve(share_frames=1 / float(self.memory_of_frames))
                consecutive = linear if len(first) == len(frames) else self._linear(frames, first, splines)
                influence = consecutive.influence(fit).numpy()
                self.memory_of_forces.fill_(statistical_inefficiency(influence, runs, pooled=True))
        fit = linear.solve(1 / float(self.memory_of_forces), 1 / float(self.memory_of_frames))
        self.first_noise.copy_(fit.noise)
        return splines, fit

    @torch.no_grad()
    def _linear(self, frames: Frames, rows: np.ndarray, splines: SplineEnergy) -> LinearEvidence:
        x, weight = _sample(frames, rows)
        forces = None
        if self.evidence != "density":
            forces = torch.as_tensor(frames.gather(rows, "forces")).flatten(1).to(x) / self.kT
        springs = self.springs or (lambda x: 0.0 * x.sum(-1))
        return LinearEvidence(splines, self.read, springs, x, forces, weight, self.groups, self.box)


def _sample(frames: Frames, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """Flat coordinates of some frames, and what each counts if they stand for all."""
    x = torch.as_tensor(frames.gather(rows)).flatten(1)
    weight = torch.as_tensor(np.ones(len(rows)) if frames.weights is None else frames.weights[rows]).to(x)
    weight = weight / weight.mean()
    return x, weight / weight.square().mean() * (len(frames) / len(rows))
