"""Collective variables without data: the physics is the model, the generator is the guide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import AffineTransform

from bayescg import nets
from bayescg.arguments import check_choice, check_counts, check_numbers, stated, widths
from bayescg.distributions import Boltzmann, GeometricPath, LatentMixture, StratifiedMixture, WrappedNormal
from bayescg.errors import ConfigError, DataError
from bayescg.features import UnboundedCoordinates, aligned
from bayescg.modelling import Batch, Schedule, StagedAnnealing, SystemModel, placing, tempering
from bayescg.systems import DoubleWell, MolecularSystem, System

DEFAULTS: dict[str, dict[str, Any]] = {
    "gaussian": {"components": 8, "beta_start": 0.02, "cess": 0.9, "guard": 400.0},
    "flow": {"components": 32, "beta_start": 0.1, "cess": 0.5, "guard": 1000.0},
}
"""What suits a generator, where an argument is None."""

TRAINING: dict[str, dict[str, Any]] = {
    "gaussian": {"batch_size": 256, "learning_rate": 5e-3},
    "flow": {"steps": 26_000, "batch_size": 256, "learning_rate": 1e-3},
}


class EmbeddedPhysics(SystemModel):
    r"""Embedded physics (Schöberl, Zabaras, Koutsourelakis 2020): a generator trained on energies alone.

    The guide generates, the model is the physics, extended by a reverse map that reads the latent variables off:

    .. math:: z \sim q(z), \quad x \mid z \sim N(\mu(z), \mathrm{diag}\,\sigma^2(z))
              \qquad \text{against} \qquad x \sim e^{-\beta U(x) / kT} / Z_\beta, \quad z \mid x \sim r(z \mid x)

    Minus the loss is a bound on :math:`\log Z_\beta`; the gap is the Kullback-Leibler divergence from
    :math:`q(x, z)` to :math:`p_\beta(x) r(z \mid x)`, never less than that from q(x) to p(x). The CV of a
    configuration is r(z | x).

    **A Gaussian generator**, for toy systems: r is a diagonal Gaussian, too, and all is learned at once. This
    divergence hardly notices a well that q(x) leaves out: one that holds the fraction m costs m nats. Three things
    guard it. q(z) is a mixture of Gaussians with weights of its own, and every batch holds draws of every component
    in equal number (:class:`bayescg.distributions.StratifiedMixture`). :math:`\beta` rises from `beta_start` to 1 in
    steps that the draws' conditional effective sample size allows, each after the loss has converged. And the opposite
    divergence, from p to q, is added `wake` times, estimated with the draws' own self-normalised weights. What may
    still be lost, :func:`bayescg.analysis.audit` looks for.

    Of a molecule, x are its internal coordinates u, unbounded (:class:`bayescg.features.UnboundedCoordinates`), and
    tempering leads from a standard normal density, in which torsions turn freely, to the Boltzmann distribution with
    the volume element J: :math:`p_\beta(u) \propto N(u; 0, I)^{1-\beta} e^{\beta(J(u) - U / kT)}`. x given z then has
    correlations, the same for all z. The components keep equal weights until :math:`\beta = 1`, so that the networks
    learn those in rare basins as well.

    **A flow**, ``generator="flow"``, for molecules, whose sixty coordinates and more no Gaussian given two numbers can
    hold: x | z is a :class:`bayescg.nets.SplineFlow` that reads z, which are angles; r(z | x) is a wrapped normal
    density, q(z) a mixture of such. Trained at once, z tells nothing: the flow does without. So it is trained in
    stages (:class:`bayescg.modelling.StagedAnnealing`): first the flow alone, as a
    :class:`bayescg.models.BoltzmannGenerator` is; then, from its draws, r and q(z) beside a decoder of where the heavy
    atoms lie, superposed, which is too weak to be right unless z moves the molecule as a whole; then, with r as it is,
    q(z) and the flow that reads z, from weighted draws: the divergence from :math:`p(x) r(z \mid x)` to q(x, z).

    Parameters
    ----------
    system : System
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of generator and reverse map.
    components : int, optional
        Of q(z); 1 for the standard normal density of the paper. Default: 8, with a flow 32.
    wake : float
        Weight of the divergence from p to q; of Gaussian generators.
    beta_start : float, optional
        First inverse temperature, in units of the system's own; 1 for no tempering. Default: 0.02, with a flow 0.1.
    cess : float, optional
        Conditional effective sample size that a step in temperature keeps. Default: 0.9, with a flow 0.5.
    coordinates : UnboundedCoordinates, optional
        Default: those of :func:`bayescg.features.unbounded_coordinates` for a molecule, flat ones for a toy system.
    guard : float, optional
        Energy, in kT above that of the structure which a molecule starts from, above which it grows like a logarithm
        (``bayescg.systems.guard``). Not for toy systems, which can be given guarded. Default: 400, with a
        flow 1000.
    generator : {None, "gaussian", "flow"}
        None: a flow for a molecule.
    layers, bins, buffer, rounds, fresh : int
        Of a flow and its training, as of :class:`bayescg.models.BoltzmannGenerator`.

    References
    ----------
    M. Schöberl, N. Zabaras, P.-S. Koutsourelakis, "Embedded-physics machine learning for coarse-graining and
    collective variable discovery without data", arXiv:2002.10148 (2020), section 2. The wake term: Bornschein, Bengio,
    "Reweighted wake-sleep", ICLR 2015. The stratified mixture: Morningstar et al., "Automatic differentiation
    variational inference with mixtures", AISTATS 2021.

    Examples
    --------
    >>> model, *_ = EmbeddedPhysics.example()
    >>> model.cv(torch.zeros(5, 2)).mean.shape
    torch.Size([5, 1])
    """

    additive = False  # the wake term's weights are those of a whole batch
    citation = "Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020)"

    beta: Tensor
    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        system: System,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        components: int | None = None,
        wake: float = 0.5,
        beta_start: float | None = None,
        cess: float | None = None,
        coordinates: UnboundedCoordinates | None = None,
        guard: float | None = None,
        generator: str | None = None,
        layers: int = 6,
        bins: int = 6,
        buffer: int = 50_000,
        rounds: int = 3,
        fresh: int = 300_000,
    ):
        super().__init__()
        if generator is None:
            generator = "flow" if isinstance(system, MolecularSystem) else "gaussian"
        check_choice(generator=(generator, DEFAULTS))
        if generator == "flow" and not isinstance(system, MolecularSystem):
            raise ConfigError("a flow's latent angles are read off a molecule's atoms: use generator='gaussian' here")
        suited = DEFAULTS[generator] | stated(components=components, beta_start=beta_start, cess=cess, guard=guard)
        check_counts(latent_dim=(latent_dim, 1), components=(suited["components"], 1), layers=(layers, 1))
        check_counts(bins=(bins, 2), buffer=(buffer, 100), rounds=(rounds, 1), fresh=(fresh, 100))
        check_numbers(wake=(wake, "[0, inf)"), beta_start=(suited["beta_start"], "(0, 1]"))
        check_numbers(cess=(suited["cess"], "(0, 1)"))
        self.begin(system, coordinates, suited["guard"])
        self.latent_dim, self.hidden, self.components = latent_dim, widths(hidden), int(suited["components"])
        self.wake, self.beta_start, self.cess = float(wake), float(suited["beta_start"]), float(suited["cess"])
        self.generator = generator
        self.layers, self.bins, self.buffer, self.rounds, self.fresh = layers, bins, buffer, rounds, fresh
        self.molecule, self.flow = self.system.reference is not None, generator == "flow"
        size, inputs = self.system.dim, len(self.system.readable(torch.zeros(self.system.dim)))
        if isinstance(system, MolecularSystem) and self.flow:
            circular = self.system.circular.tolist()
            self.decoder = nets.SplineFlow(
                [i in circular for i in range(size)], layers, bins, self.hidden, context=4 * latent_dim
            )
            self.reverse = nets.AngleReader(inputs, latent_dim, self.hidden)
            self.superposed = aligned(system.topology, system.start)  # by heavy atoms
            self.placement = nets.Placement(
                latent_dim, self._atoms(self.inputs(torch.as_tensor(system.start)[None]))[0]
            )
        else:
            self.decoder = nets.ConditionalGaussian(latent_dim, size, self.hidden, correlated=self.molecule)
            self.reverse = nets.ConditionalGaussian(inputs, latent_dim, self.hidden)
        centre, scale = placing(self.system)
        self.register_buffer("centre", centre, persistent=False)
        self.register_buffer("scale", scale, persistent=False)
        self.prior = LatentMixture(self.components, latent_dim, angular=self.flow)
        self.register_buffer("beta", torch.ones(()))

    @property
    def training_defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Of a Gaussian generator the steps are a bound: the fit is over soon after the temperatures are."""
        return TRAINING[self.generator]

    def guide(self, batch: Batch) -> None:
        """Z ~ q(z); x ~ q(x | z). Of draws that a flow learns from, z ~ r(z | x)."""
        with self._draws(batch) as prior:
            if batch.x is None:
                z = None if batch.stage == "plain" else pyro.sample("z", prior)
                pyro.sample("x", self._generated(z, batch))
            elif batch.stage != "plain":
                pyro.sample("z", self._read(batch.x, learns=batch.stage == "reading"))

    def model(self, batch: Batch) -> None:
        """X ~ exp(-beta U(x) / kT), of a molecule as stated above; z ~ r(z | x). Of draws, x or its atoms and z ~ q."""
        with self._draws(batch) as prior:
            if batch.x is None:
                x = pyro.sample("x", (Boltzmann if self.flow else GeometricPath)(self.system, self.beta))
                if batch.stage != "plain":
                    pyro.sample("z", self._read(x))
                return
            z = None if batch.stage == "plain" else pyro.sample("z", prior)
            if batch.stage == "reading" and z is not None:
                pyro.sample("atoms", self.placement(z), obs=self._atoms(batch.x))
            else:
                pyro.sample("x", self._generated(z, batch), obs=batch.x)

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """Beta rises as the draws allow, unless it begins at 1; with a flow, in stages.

        Raises
        ------
        ConfigError
            Refits cannot share the buffers of a flow.
        """
        if not self.flow:
            return tempering(self.beta_start, self.cess, steps, self.wake)
        StagedAnnealing.check_alone(members)
        return StagedAnnealing(self.beta_start, self.cess, steps, self.buffer, self.rounds, self.fresh)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """r(z | x) for positions ``(n, atoms, 3)`` or ``(n, dim)``: batch shape ``(n,)``, event ``(latent_dim,)``."""
        return self._read(self.inputs(x))

    def reset(self) -> None:
        """Draw fresh weights. Soft torsions of a Gaussian begin spread over all values; a flow begins blind to z."""
        super().reset()
        with torch.no_grad():
            if isinstance(self.decoder, nets.SplineFlow):
                self.decoder.forget_context()
            elif len(self.system.circular):
                z = self.prior(self.prior.drawn(1000)).rsample()
                self.decoder.spread(z, self.system.circular, sd=0.3)

    @classmethod
    def example(cls) -> tuple[EmbeddedPhysics, None, None]:
        """A double well in the plane, by the plain bound at its own temperature: a loss with exact gradients."""
        return cls(DoubleWell(), hidden=(8,), components=2, wake=0.0, beta_start=1.0), None, None

    def _generated(self, z: Tensor | None, batch: Batch) -> TorchDistribution:
        """q(x | z); of a flow, without z, q(x), its stiff coordinates as wide as they are hot."""
        if isinstance(self.decoder, nets.SplineFlow):
            context = self.beta.new_zeros(len(batch), 4 * self.latent_dim) if z is None else nets.harmonics(z)
            return self.decoder(context, widen=self.beta.rsqrt())
        return dist.TransformedDistribution(self.decoder(z), [AffineTransform(self.centre, self.scale, event_dim=1)])

    def _read(self, x: Tensor, learns: bool = True) -> TorchDistribution:
        """r(z | x), of the model's coordinates."""
        if not self.flow:
            return self.reverse(self.system.readable((x - self.centre) / self.scale))
        mean, sd = self.reverse(self.system.readable(x))
        return WrappedNormal(mean, sd) if learns else WrappedNormal(mean.detach(), sd.detach())

    def _atoms(self, x: Tensor) -> Tensor:
        """Where the heavy atoms lie, superposed, in nm: ``(..., 3 heavy atoms)``."""
        places = self.superposed(self.system.positions(x)).unflatten(-1, (-1, 3))
        return places[..., self.superposed.fitted, :].flatten(-2)

    @contextmanager
    def _draws(self, batch: Batch) -> Iterator[StratifiedMixture]:
        """Plate over the draws; gives q(z). Without a flow, each counts as the weight of its component asks."""
        index = (
            None if self.flow else batch.index
        )  # without, as many draws of each component as its weight makes of them
        if index is not None and len(index) < self.components:
            raise DataError(f"a batch of {len(index)} draws has none of some of the {self.components} components")
        component = self.prior.drawn(len(batch)) if index is None else index % self.components
        free = 1.0 if self.flow or not self.molecule else (self.beta >= 1.0).to(self.beta.dtype)
        prior = self.prior(component, free)
        with batch.plate("frames"):
            if index is None or self.components == 1:
                yield prior
            else:
                with poutine.scale(scale=prior.share):
                    yield prior
