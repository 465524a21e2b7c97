"""Collective variables without data: the physics is the model, the generator is the guide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyro
import torch
from pyro import poutine
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_numbers, widths
from bayescg.distributions import GeometricPath, LatentMixture, StratifiedMixture
from bayescg.errors import DataError
from bayescg.features import UnboundedCoordinates
from bayescg.modelling import Batch, Schedule, SystemModel, tempering
from bayescg.systems import DoubleWell, System


class EmbeddedPhysics(SystemModel):
    r"""Embedded physics (Schöberl, Zabaras, Koutsourelakis 2020): a generator trained on energies alone.

    The guide generates, the model is the physics, extended by a reverse map that reads the latent variables off:

    .. math:: z \sim q(z), \quad x \mid z \sim N(\mu(z), \mathrm{diag}\,\sigma^2(z))
              \qquad \text{against} \qquad x \sim e^{-\beta U(x) / kT} / Z_\beta, \quad z \mid x \sim r(z \mid x)

    Minus the loss is a bound on :math:`\log Z_\beta`; the gap is the Kullback-Leibler divergence from
    :math:`q(x, z)` to :math:`p_\beta(x) r(z \mid x)`, never less than that from q(x) to p(x). The CV of a
    configuration is r(z | x), a diagonal Gaussian.

    This divergence hardly notices a well that q(x) leaves out: one that holds the fraction m costs m nats. Three things
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

    Parameters
    ----------
    system : System
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of generator and reverse map.
    components : int
        Of q(z); 1 for the standard normal density of the paper.
    wake : float
        Weight of the divergence from p to q.
    beta_start : float
        First inverse temperature, in units of the system's own; 1 for no tempering.
    cess : float
        Conditional effective sample size that a step in temperature keeps.
    coordinates : UnboundedCoordinates, optional
        Default: those of :func:`bayescg.features.unbounded_coordinates` for a molecule, flat ones for a toy system.
    guard : float, optional
        Energy, in kT above that of the structure which a molecule starts from, above which it grows like a logarithm
        (``bayescg.systems.guard``). Not for toy systems, which can be given guarded.

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

    def __init__(
        self,
        system: System,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        components: int = 8,
        wake: float = 0.5,
        beta_start: float = 0.02,
        cess: float = 0.9,
        coordinates: UnboundedCoordinates | None = None,
        guard: float = 400.0,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1), components=(components, 1))
        check_numbers(wake=(wake, "[0, inf)"), beta_start=(beta_start, "(0, 1]"), cess=(cess, "(0, 1)"))
        self.begin(system, coordinates, guard)
        self.latent_dim, self.hidden, self.components = latent_dim, widths(hidden), components
        self.wake, self.beta_start, self.cess = float(wake), float(beta_start), float(cess)
        size, self.molecule = self.system.dim, self.system.reference is not None
        self.generator = nets.ConditionalGaussian(latent_dim, size, self.hidden, correlated=self.molecule)
        readable = self.system.readable(torch.zeros(size))
        self.reverse = nets.ConditionalGaussian(len(readable), latent_dim, self.hidden)
        self.prior = LatentMixture(components, latent_dim)
        self.register_buffer("beta", torch.ones(()))

    def guide(self, batch: Batch) -> None:
        """Z ~ q(z); x ~ N(mu(z), diag sigma(z)^2)."""
        with self._draws(batch) as prior:
            z = pyro.sample("z", prior)
            pyro.sample("x", self.generator(z))

    def model(self, batch: Batch) -> None:
        """X ~ exp(-beta U(x) / kT), of a molecule as stated above; z ~ r(z | x)."""
        with self._draws(batch):
            x = pyro.sample("x", GeometricPath(self.system, self.beta), obs=batch.x)
            pyro.sample("z", self.reverse(self.system.readable(x)))

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """Beta rises as the draws allow, unless it begins at 1."""
        return tempering(self.beta_start, self.cess, steps, self.wake)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """r(z | x) for positions ``(n, atoms, 3)`` or ``(n, dim)``: batch shape ``(n,)``, event ``(latent_dim,)``."""
        return self.reverse(self.system.readable(self.inputs(x)))

    def reset(self) -> None:
        """Draw fresh weights; soft torsions begin spread over all their values, each draw's in a narrow range."""
        super().reset()
        if len(self.system.circular):
            with torch.no_grad():
                z = self.prior(self.prior.drawn(1000)).rsample()
            self.generator.spread(z, self.system.circular, sd=0.3)

    @classmethod
    def example(cls) -> tuple[EmbeddedPhysics, None, None]:
        """A double well in the plane, by the plain bound at its own temperature: a loss with exact gradients."""
        return cls(DoubleWell(), hidden=(8,), components=2, wake=0.0, beta_start=1.0), None, None

    @contextmanager
    def _draws(self, batch: Batch) -> Iterator[StratifiedMixture]:
        """Plate over the draws, each counting as its component's weight asks; gives q(z)."""
        if batch.index is not None and len(batch) < self.components:
            raise DataError(f"a batch of {len(batch)} draws has none of some of the {self.components} components")
        generating = batch.index is None  # as many draws of each component, then, as its weight makes of them
        component = batch.index % self.components if batch.index is not None else self.prior.drawn(len(batch))
        free = (self.beta >= 1.0).to(self.beta.dtype) if self.molecule else 1.0
        prior = self.prior(component, free)
        with batch.plate("frames"):
            if generating or self.components == 1:
                yield prior
            else:
                with poutine.scale(scale=prior.share):
                    yield prior
