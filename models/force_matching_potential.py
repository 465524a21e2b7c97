"""Coarse-grained potentials from forces, from the density of the same frames, or from both, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.func import grad

from bayescg import nets
from bayescg.analysis import stein_check
from bayescg.arguments import check_choice, check_counts, check_positive, widths
from bayescg.data import Frames, evenly, statistical_inefficiency
from bayescg.errors import ConfigError, DataError
from bayescg.features import invariants
from bayescg.modelling import Batch, PotentialModel
from bayescg.sampling import equilibrium
from bayescg.systems import RippledWell

Energy = Callable[[Tensor], Tensor]

_ENOUGH = 200
_LEVEL = 1e-3
"""Of so many frames or more forces are checked before they are learned from; right ones are to fail so seldom."""


class ForceMatchingPotential(PotentialModel):
    r"""Multiscale coarse-graining as a likelihood of forces (Noid et al. 2008; CGnets, Wang et al. 2019).

    Frames of beads R with mapped forces f, such as :func:`bayescg.sampling.mapped_forces` gives, have

    .. math:: f \mid R \sim N(-\nabla U_\theta(R), \sigma^2), \qquad U_\theta = U_{prior} + kT\, u_\theta(R),

    whose mean is minus the slope of the potential of mean force, and whose noise is what the other degrees of freedom
    do. The density of the same frames, :math:`e^{-U_\theta / kT} / Z`, is independent further evidence, for given the
    frames the noise has mean zero: forces are best on barriers and in tails, the density at populations.

    Frames of one trajectory are worth fewer independent ones in the density, one in each statistical inefficiency of
    the frames, than in the forces, where the memory of what their noise does to the energies counts, whose smooth parts
    remember longest. Both are measured. What that leaves out: later positions follow the noise, so that error bars are
    a little narrow while a path has crossed its barrier a few times only (intervals of 90 % held 73 to 88 % of 60 paths
    of 4000 frames worth 600, 85 to 92 % of paths four times as long; 83 to 90 % under the noise of another path).

    u is a sum of splines of single descriptors, linear in its parameters, or a network of all. Descriptors are the
    distances, angles and torsions of a chain of beads, or the flat coordinates of a toy system. Prior energy, prior
    and noise of the splines are set by the evidence, before the training, which begins at their optimum.

    Parameters
    ----------
    topology : mapping of beads, or topology, optional
        Of the beads, with bonds between neighbours; None: the frames tell.
    form : {"network", "splines"}
        Of u.
    prior : {"auto", "bonded", "harmonic", None}
        Prior energy: springs of bonds and angles and a repulsion, or springs around the mean of flat coordinates.
    evidence : {"forces", "density", "joint"}
        What is scored. A density is of one or two flat coordinates.
    noise : {"state", "constant"}
        Whether the width of the noise depends on the descriptors, beside the bead. Where it does and the model does not
        know, intervals are wrong in silence; where it does not, "constant" trains faster, splines from their optimum.
    hidden : sequence of int
        Widths of the hidden layers of the network.
    activation : {"tanh", "silu", "softplus"}
    knots : int
        Splines of each descriptor.
    weights : float
        Standard deviation of a network's weights, a priori, times the root of the inputs of their layer.
    dim, temperature, temperature_kT : optional
        As in :class:`bayescg.modelling.HasPotential`; the frames tell.

    References
    ----------
    W. G. Noid et al., "The multiscale coarse-graining method. I", J. Chem. Phys. 128, 244114 (2008), eq. (29);
    P. Liu, Q. Shi, H. Daumé, G. A. Voth, "A Bayesian statistics approach to multiscale coarse graining", J. Chem. Phys.
    129, 214114 (2008); J. Wang et al., "Machine learning of coarse-grained molecular dynamics force fields", ACS Cent.
    Sci. 5, 755 (2019). The density: M. S. Shell, J. Chem. Phys. 129, 144108 (2008).

    Examples
    --------
    >>> model, frames, _ = ForceMatchingPotential.example()
    >>> model.setup(frames)
    >>> model.potential(torch.zeros(5, 1)).shape
    torch.Size([5])
    """

    conditional = True
    uncertainty = "laplace"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 3000, "batch_size": 2048, "learning_rate": 3e-3}
    citation = "Wang et al., ACS Cent. Sci. 5, 755 (2019), doi:10.1021/acscentsci.8b00913"

    memory_of_forces: Tensor
    memory_of_frames: Tensor
    spread: Tensor
    first_noise: Tensor

    def __init__(
        self,
        topology: Any = None,
        form: Literal["network", "splines"] = "network",
        prior: Literal["auto", "bonded", "harmonic"] | None = "auto",
        evidence: Literal["forces", "density", "joint"] = "forces",
        noise: Literal["constant", "state"] = "state",
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        knots: int = 22,
        weights: float = 1.5,
        dim: int | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_choice(form=(form, ("network", "splines")), noise=(noise, ("constant", "state")))
        check_choice(prior=(prior, ("auto", "bonded", "harmonic", None)))
        check_choice(evidence=(evidence, ("forces", "density", "joint")))
        nets.check_smooth(activation)
        check_counts(knots=(knots, 4))
        check_positive(weights=weights)
        self.form, self.prior, self.evidence, self.noise = form, prior, evidence, noise
        self.hidden, self.activation, self.knots, self.weights = widths(hidden), activation, knots, float(weights)
        if prior is None and evidence != "forces":
            raise ConfigError(
                f"evidence={evidence!r} needs a prior energy: without one the energy stays finite far from the frames, "
                "so that its density has no normaliser Z; use prior='auto', or evidence='forces'"
            )
        self.begin_potential(topology, dim, temperature, temperature_kT)
        if self.dim is not None:
            self._build(self.dim)

    def _build(self, dim: int) -> None:
        chain = self.topology is not None
        if self.prior == ("harmonic" if chain else "bonded"):
            raise ConfigError(f"prior={self.prior!r} is not for {'beads' if chain else 'flat coordinates'}: use 'auto'")
        if chain and self.evidence != "forces":
            raise ConfigError(
                f"evidence={self.evidence!r}: the density of {dim} coordinates of beads has no normaliser that could "
                "be computed; use evidence='forces'"
            )
        self.descriptors = invariants(self.topology) if chain else None
        size = dim if self.descriptors is None else self.descriptors.size
        self.scale = nets.Standardise(size)
        self.reach = nets.TrainingRange(size if self.descriptors is None else len(self.descriptors.pairs))
        self.springs = None
        if self.prior is not None:
            bonds = [(a.index, b.index) for a, b in self.topology.bonds] if self.topology is not None else []
            self.springs = nets.BondedEnergy(dim // 3, bonds) if chain else nets.HarmonicEnergy(dim)
        splines = self.form == "splines"
        net = nets.SplineEnergy(size, self.knots) if splines else nets.MLP(size, 1, self.hidden, self.activation)
        self.correction: nn.Module = net
        self.box = None if self.evidence == "forces" else nets.QuadratureBox(dim)
        self.groups = [d // 3 if chain else d for d in range(dim)]
        if self.evidence != "density":
            self.log_noise = nn.Parameter(torch.zeros(self.groups[-1] + 1))
            self.state_noise = nets.MLP(size, 1, (16,)) if self.noise == "state" else None
        for name in ("memory_of_forces", "memory_of_frames", "spread"):
            self.register_buffer(name, torch.ones(()))
        self.register_buffer("first_noise", torch.ones(self.groups[-1] + 1))

    def read(self, x: Tensor) -> Tensor:
        """Descriptors ``(..., size)`` of flat coordinates."""
        return x if self.descriptors is None else self.descriptors(x.unflatten(-1, (-1, 3)))

    def energy(self, x: Tensor, correction: Callable[..., Tensor]) -> Tensor:
        """U / kT of flat coordinates ``(..., dim)``, of a network or splines with certain weights."""
        y = self.read(x)
        u = correction(y) if self.form == "splines" else correction(self.scale(y))[..., 0]
        return u if self.springs is None else u + self.springs(x)

    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)``, in the unit of kT, of positions ``(n, beads, 3)`` or flat coordinates ``(n, dim)``."""
        return self.kT * self.energy(x.flatten(1), self.correction)

    def strays(self, x: Tensor) -> str:
        """The first of configurations ``(n, dim)`` far beyond the training frames, in words; empty where none is."""

        def name(column: int) -> str:
            if self.descriptors is None or self.topology is None:
                return f"coordinate {column + 1} is"
            a, b = (self.topology.atom(i) for i in self.descriptors.pairs[column].tolist())
            return f"beads {a} and {b} are apart by"

        return self.reach.strays(self.read(x.to(self.reach.low))[:, : len(self.reach.low)], name)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, .); forces ~ N(-grad U, sigma^2), coordinates ~ exp(-U / kT) / Z."""
        assert batch.x is not None
        u = self._random_energy()
        with batch.plate("frames"):
            if self.evidence != "density":
                assert batch.forces is not None
                share = self._share(batch)
                with poutine.scale(scale=share):
                    forces = dist.Normal(_forces(u, batch.x), self.width(batch.x)).to_event(1)
                    pyro.sample("forces", forces, obs=batch.forces.flatten(1) / self.kT)
            if self.box is not None:
                pyro.factor("positions", -u(batch.x) - self.box.log_z(u(self.box.points)))

    def guide(self, batch: Batch) -> None:
        """Nothing is local to a frame."""

    def information(self, batch: Batch) -> Tensor:
        """Of the forces their means in units of the noise; of the density the energy, by its variance over it."""
        assert batch.x is not None
        u: Energy = lambda x: self.energy(x, self.correction)  # noqa: E731
        weight, rows = torch.ones_like(batch.x[:, 0]) if batch.weight is None else batch.weight, []
        if self.evidence != "density":
            share = self._share(batch)
            rows.append(
                (_forces(u, batch.x) / self.width(batch.x).detach() * (weight * share).sqrt()[:, None]).flatten()
            )
        if self.box is not None:
            values = u(self.box.points)
            p = torch.softmax(-values, 0).detach()
            rows.append((weight.sum() * p).sqrt() * (values - p @ values))
        return torch.cat(rows)

    def _share(self, batch: Batch) -> Tensor | float:
        """How many more independent terms forces have than the density, by whose memory frames are weighed, if any."""
        weighed = self.evidence == "joint" and batch.weight is not None
        return self.memory_of_frames / self.memory_of_forces if weighed else 1.0

    def width(self, x: Tensor) -> Tensor:
        """Standard deviation of the noise of each force, in kT per length, ``(n, dim)``."""
        log_width = self.log_noise.repeat_interleave(x.shape[-1] // len(self.log_noise)).expand(x.shape)
        if self.state_noise is not None:
            log_width = log_width + self.state_noise(self.scale(self.read(x)))
        return log_width.exp()

    def inefficiency(self, frames: Frames) -> float:
        """That of the influence of the forces on the energies, or of the frames where their density counts."""
        return float(self.memory_of_forces if self.evidence == "forces" else self.memory_of_frames)

    def setup(self, frames: Frames) -> None:
        """Take scales and prior energy; solve for splines, which tell the noise and what frames are worth.

        Raises
        ------
        DataError
            The frames have no forces, or two beads lie in one place.

        Warns
        -----
        UserWarning
            The forces are not those of the frames: :func:`bayescg.analysis.stein_check`.
        """
        super().setup(frames)
        if not hasattr(self, "scale"):
            self._build(frames.gather([0]).size)
        if self.evidence != "density" and frames.forces is None:
            raise DataError(
                "the frames have no forces: bcg.sampling.mapped_forces(frames, system, mapping) maps those of the "
                "atoms, and computes them where there are none; of one or two coordinates evidence='density' needs none"
            )
        evenly_spaced = evenly(frames)
        x, weight = self._sample(frames, evenly_spaced)
        y = self.read(x)
        if self.descriptors is not None:
            self.descriptors.check_apart(y, evenly_spaced.tolist())
        if self.evidence != "density" and len(frames) >= _ENOUGH:
            check = stein_check(frames, level=_LEVEL, draws=2000)
            if not check.passed:
                warnings.warn(check.reason, stacklevel=2)
        self.to(x.dtype)
        self.scale.set(y.mean(0), y.std(0, correction=0))
        self.reach.set(y[:, : len(self.reach.low)])
        if self.springs is not None:
            self.springs.measure(x, weight)
        if self.box is not None and self.springs is not None:
            self.box.fill_around(self.springs.get_buffer("mean"), self.springs.get_buffer("width"))
        splines = nets.SplineEnergy.covering(y, self.knots if self.form == "splines" else 10)
        linear = self._linear(frames, evenly_spaced, splines)
        if frames.order is not None and len(frames) >= 10:
            first = np.arange(min(len(frames), len(evenly_spaced)))
            runs = frames.blocks(len(frames))[first]
            if self.box is not None:
                self.memory_of_frames.fill_(
                    statistical_inefficiency(frames.gather(first).reshape(len(first), -1), runs)
                )
            if self.evidence != "density":
                fit = linear.solve(share_frames=1 / float(self.memory_of_frames))
                consecutive = linear if len(first) == len(frames) else self._linear(frames, first, splines)
                influence = consecutive.influence(fit).numpy()
                self.memory_of_forces.fill_(statistical_inefficiency(influence, runs, pooled=True))
        fit = linear.solve(1 / float(self.memory_of_forces), 1 / float(self.memory_of_frames))
        self.first_noise.copy_(fit.noise)
        if isinstance(self.correction, nets.SplineEnergy):
            self.spread.fill_(fit.spread)
            axes = torch.linalg.eigh(fit.information)[1]
            splines.rotate(axes, axes.T @ fit.weight)
            self.correction.load_state_dict(splines.state_dict())

    def reset(self) -> None:
        """Begin at the splines' optimum, or with fresh weights of a network, and with the noise of the splines."""
        super().reset()
        if self.evidence != "density":
            with torch.no_grad():
                self.log_noise.copy_(self.first_noise.log())
            if self.state_noise is not None:
                for p in self.state_noise[-1].parameters():
                    nn.init.zeros_(p)

    def _random_energy(self) -> Energy:
        def of_splines(p: Tensor) -> dist.TorchDistribution:
            return dist.Normal(torch.zeros_like(p), self.spread).to_event(1)

        prior = of_splines if self.form == "splines" else nets.fan_in(self.weights)
        correction = nets.random_net(self, "correction", {"weight": prior, "bias": prior})
        return lambda x: self.energy(x, correction)

    def _sample(self, frames: Frames, index: np.ndarray) -> tuple[Tensor, Tensor]:
        """Flat coordinates of some frames, and what each counts if they stand for all."""
        x = torch.as_tensor(frames.gather(index)).flatten(1)
        weight = torch.as_tensor(np.ones(len(index)) if frames.weights is None else frames.weights[index]).to(x)
        weight = weight / weight.mean()
        return x, weight / weight.square().mean() * (len(frames) / len(index))

    def _linear(self, frames: Frames, index: np.ndarray, splines: nets.SplineEnergy) -> nets.LinearEvidence:
        x, weight = self._sample(frames, index)
        forces = None
        if self.evidence != "density":
            forces = torch.as_tensor(frames.gather(index, "forces")).flatten(1).to(x) / self.kT
        springs = self.springs or (lambda x: 0.0 * x.sum(-1))
        return nets.LinearEvidence(splines, self.read, springs, x, forces, weight, self.groups, self.box)

    @classmethod
    def example(cls) -> tuple[ForceMatchingPotential, Any, None]:
        """Forces along one coordinate and its density."""
        frames = equilibrium(RippledWell(), 80)
        forces = RippledWell().forces(torch.as_tensor(frames.positions))[:, :1].numpy()
        x = Frames.from_numpy(frames.positions[:, :1], unit="reduced", temperature_kT=1.0, forces=forces)
        return cls(form="splines", evidence="joint", knots=8), x, None


def _forces(u: Energy, x: Tensor) -> Tensor:
    return -grad(lambda v: u(v).sum())(x)
