"""Coarse-grained potentials from forces, from the density of the same frames, or from both, with error bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from bayescg import nets
from bayescg.analysis import warn_of_forces
from bayescg.arguments import check_choice, check_counts, check_positive, widths
from bayescg.data import Frames, evenly
from bayescg.errors import ConfigError
from bayescg.modelling import Batch, BeadModel
from bayescg.sampling import equilibrium
from bayescg.systems import RippledWell

Energy = Callable[[Tensor], Tensor]


class ForceMatchingPotential(BeadModel):
    r"""Multiscale coarse-graining as a likelihood of forces (Noid et al. 2008; CGnets, Wang et al. 2019).

    Frames of beads R with mapped forces f, such as :func:`bayescg.sampling.mapped_forces` gives, have

    .. math:: f \mid R \sim N(-\nabla U_\theta(R), \sigma^2), \qquad U_\theta = U_{prior} + kT\, u_\theta(R),

    whose mean is minus the slope of the potential of mean force, and whose noise is what the other degrees of freedom
    do. The density of the same frames, :math:`e^{-U_\theta / kT} / Z`, is independent further evidence, for given the
    frames the noise has mean zero: forces are best on barriers and in tails, the density at populations.

    Correlated frames count less, in the forces and in the density (:class:`bayescg.modelling.BeadModel`).

    u is a sum of splines of single descriptors, linear in its parameters, or a network of all; or a sum over beads that
    see their neighbours (:class:`bayescg.nets.ParticleEnergy`), of kinds by name and residue. Descriptors are the
    distances, angles and torsions of a chain of beads, or the flat coordinates of a toy system. Prior and noise of the
    splines are set by the evidence, before the training, which begins at their optimum.

    Parameters
    ----------
    topology : mapping of beads, or topology, optional
        Of the beads, with bonds between neighbours; None: the frames tell.
    form : {"network", "splines", "neighbours"}
        Of u; only beads have neighbours.
    prior : {"auto", "bonded", "harmonic", None}
        Prior energy: springs of bonds and angles and a repulsion, or springs around the mean of flat coordinates.
    evidence : {"forces", "density", "joint"}
        What is scored. A density is of one or two flat coordinates.
    noise : {"state", "constant"}
        Whether the width of the noise depends on the descriptors, beside the bead. Where it does and the model does not
        know, intervals are wrong in silence; where it does not, "constant" trains faster, splines from their optimum.
    hidden : sequence of int
        Widths of the hidden layers of the network; of neighbours, of so many convolutions, all alike.
    activation : {"tanh", "silu", "softplus"}
    knots : int
        Splines of each descriptor.
    weights : float
        Standard deviation of a network's weights, a priori, times the root of the inputs of their layer.
    prior_parameters : {"fixed", "uncertain"}
        Whether those of the prior energy are as the frames show, or random around that (`bayescg.nets.PriorEnergy`).
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

    spread: Tensor

    def __init__(
        self,
        topology: Any = None,
        form: Literal["network", "splines", "neighbours"] = "network",
        prior: Literal["auto", "bonded", "harmonic"] | None = "auto",
        evidence: Literal["forces", "density", "joint"] = "forces",
        noise: Literal["constant", "state"] = "state",
        hidden: Sequence[int] = (64, 64),
        activation: str = "tanh",
        knots: int = 22,
        weights: float = 3.0,
        prior_parameters: Literal["fixed", "uncertain"] = "fixed",
        dim: int | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_choice(form=(form, ("network", "splines", "neighbours")), noise=(noise, ("constant", "state")))
        nets.check_smooth(activation)
        check_counts(knots=(knots, 4))
        check_positive(weights=weights)
        self.form, self.noise = form, noise
        self.hidden, self.activation, self.knots, self.weights = widths(hidden), activation, knots, float(weights)
        if form == "neighbours" and len(set(self.hidden)) != 1:
            raise ConfigError(f"hidden={self.hidden}: each convolution of neighbours has one width, as in (64, 64)")
        self.begin_beads(topology, prior, prior_parameters, evidence, dim, temperature, temperature_kT)

    def build(self, size: int) -> None:
        """The correction u."""
        self.correction: nn.Module
        if self.form == "splines":
            self.correction = nets.SplineEnergy(size, self.knots)
        elif self.form == "network":
            self.correction = nets.MLP(size, 1, self.hidden, self.activation)
        else:
            kinds, width, blocks = self.number_beads(), self.hidden[0], len(self.hidden)
            self.correction = nets.ParticleEnergy(kinds, width, blocks, activation=self.activation)
        self.register_buffer("spread", torch.ones(()))

    def energy(self, x: Tensor, correction: Callable[..., Tensor], springs: Callable[..., Tensor] | None) -> Tensor:
        """U / kT of flat coordinates ``(n, dim)``, of a network or splines, and prior energy, with certain weights."""
        if self.form == "splines":
            u = correction(self.read(x))
        elif self.form == "network":
            u = correction(self.scale(self.read(x)))[..., 0]
        else:
            u = correction(x.unflatten(-1, (-1, 3)), self.kinds)
        return u if springs is None else u + springs(x)

    def potential(self, x: Tensor) -> Tensor:
        """Energies ``(n,)``, in the unit of kT, of positions ``(n, beads, 3)`` or flat coordinates ``(n, dim)``."""
        return self.kT * self.energy(x.flatten(1), self.correction, self.springs)

    def model(self, batch: Batch) -> None:
        """Weights ~ N(0, .); forces ~ N(-grad U, sigma^2), coordinates ~ exp(-U / kT) / Z."""
        assert batch.x is not None
        prior = nets.gaussian(self.spread) if self.form == "splines" else nets.fan_in(self.weights)
        correction, springs = nets.random_net(self, "correction", prior), self.random_springs()
        u: Energy = lambda x: self.energy(x, correction, springs)  # noqa: E731
        with batch.plate("frames"):
            if self.evidence != "density":
                assert batch.forces is not None
                with poutine.scale(scale=self.share(batch)):
                    forces = dist.Normal(nets.forces_of(u, batch.x), self.width(batch.x)).to_event(1)
                    pyro.sample("forces", forces, obs=batch.forces.flatten(1) / self.kT)
            if self.box is not None:
                pyro.factor("positions", -u(batch.x) - self.box.log_z(u(self.box.points)))

    def guide(self, batch: Batch) -> None:
        """Nothing is local to a frame."""

    def information(self, batch: Batch) -> Tensor:
        """Of the forces their means in units of the noise; of the density the energy, by its variance over it."""
        assert batch.x is not None
        u: Energy = lambda x: self.energy(x, self.correction, self.springs)  # noqa: E731
        weight, rows = torch.ones_like(batch.x[:, 0]) if batch.weight is None else batch.weight, []
        if self.evidence != "density":
            forces = nets.forces_of(u, batch.x) / self.width(batch.x).detach()
            rows.append((forces * (weight * self.share(batch)).sqrt()[:, None]).flatten())
        if self.box is not None:
            rows.append(self.box.information(u(self.box.points), weight.sum()))
        return torch.cat(rows)

    def setup(self, frames: Frames) -> None:
        """Take scales and prior energy; solve for splines, which tell the noise and what frames are worth."""
        super().setup(frames)
        if self.evidence != "density":
            warn_of_forces(frames)
        if isinstance(self.correction, nets.ParticleEnergy):
            self.correction.measure(torch.as_tensor(frames.gather(evenly(frames))))
        splines, fit = self.first_fit(frames, self.knots if self.form == "splines" else 10)
        if isinstance(self.correction, nets.SplineEnergy):
            self.spread.fill_(fit.spread)
            axes = torch.linalg.eigh(fit.information)[1]
            splines.rotate(axes, axes.T @ fit.weight)
            self.correction.load_state_dict(splines.state_dict())

    def reset(self) -> None:
        """Begin at the splines' optimum, or with fresh weights of a network, and with the noise of the splines."""
        super().reset()
        if isinstance(self.correction, nets.ParticleEnergy):
            self.correction.begin()

    @classmethod
    def example(cls) -> tuple[ForceMatchingPotential, Any, None]:
        """Forces along one coordinate and its density."""
        frames = equilibrium(RippledWell(), 80)
        forces = RippledWell().forces(torch.as_tensor(frames.positions))[:, :1].numpy()
        x = Frames.from_numpy(frames.positions[:, :1], unit="reduced", temperature_kT=1.0, forces=forces)
        return cls(form="splines", evidence="joint", knots=8), x, None
