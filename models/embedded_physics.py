"""Collective variables without data: the physics is the model, the generator is the guide."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from bayescg import nets
from bayescg.distributions import Boltzmann, StratifiedMixture, system_config, system_from_config
from bayescg.errors import ConfigError, DataError
from bayescg.inference import Batch, Model
from bayescg.systems import DoubleWell, System

_PACE = 20.0
"""The components' weights follow a change of temperature sooner than the networks, which must not do it in their place
by moving a component from one well to another."""


class EmbeddedPhysics(Model):
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

    needs_frames = False
    additive = False  # the wake term's weights are those of a whole batch
    citation = "Schöberl, Zabaras, Koutsourelakis, arXiv:2002.10148 (2020)"

    beta: Tensor
    logits: Tensor
    mean: Tensor
    log_sd: Tensor

    def __init__(
        self,
        system: System,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        components: int = 8,
        wake: float = 0.5,
        beta_start: float = 0.02,
        cess: float = 0.9,
    ):
        super().__init__()
        if latent_dim < 1 or components < 1 or wake < 0:
            raise ConfigError(
                f"latent_dim={latent_dim} and components={components} must be at least 1, wake={wake} at least 0"
            )
        if not (0 < beta_start <= 1 and 0 < cess < 1):
            raise ConfigError(f"beta_start={beta_start} must lie in (0, 1] and cess={cess} in (0, 1)")
        self.system, self.latent_dim, self.hidden = system, latent_dim, tuple(hidden)
        self.wake, self.beta_start, self.cess = float(wake), float(beta_start), float(cess)
        self.components = components
        self.generator = nets.ConditionalGaussian(latent_dim, system.dim, self.hidden)
        self.reverse = nets.ConditionalGaussian(system.dim, latent_dim, self.hidden)
        size = (components, latent_dim)
        for name, value in (
            ("logits", torch.zeros(components)), ("mean", torch.zeros(size)), ("log_sd", torch.zeros(size))
        ):  # fmt: skip
            if components > 1:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.register_buffer("beta", torch.ones(()))

    def guide(self, batch: Batch) -> None:
        """Z ~ q(z); x ~ N(mu(z), diag sigma(z)^2)."""
        with self._draws(batch) as prior:
            z = pyro.sample("z", prior)
            pyro.sample("x", self.generator(z))

    def model(self, batch: Batch) -> None:
        """X ~ exp(-beta U(x) / kT); z ~ r(z | x)."""
        with self._draws(batch):
            x = pyro.sample("x", Boltzmann(self.system, self.beta), obs=batch.x)
            pyro.sample("z", self.reverse(x))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """r(z | x) for positions ``(n, atoms, 3)`` or ``(n, dim)``: batch shape ``(n,)``, event ``(latent_dim,)``."""
        return self.reverse(self.inputs(x))

    def inputs(self, x: Tensor) -> Tensor:
        """Flat coordinates ``(n, dim)``.

        Raises
        ------
        DataError
            They are not as many as the system's.
        """
        flat = x.flatten(1)
        if flat.shape[-1] != self.system.dim:
            raise DataError(f"the system has {self.system.dim} coordinates, these frames have {flat.shape[-1]}")
        return flat

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` of a molecule's generated coordinates; those of other systems as they are."""
        return x if self.system.topology is None else x.unflatten(-1, (-1, 3))

    def reset(self) -> None:
        """Draw fresh weights; the components start evenly spread over the standard normal density."""
        super().reset()
        if self.components == 1:
            return
        seed = int(torch.randint(2**31, ()))
        even = torch.quasirandom.SobolEngine(self.latent_dim, scramble=True, seed=seed).draw(self.components)
        with torch.no_grad():
            self.logits.zero_()
            self.mean.copy_(torch.special.ndtri(even.clamp(0.01, 0.99)))
            self.log_sd.fill_(-math.log(self.components) / self.latent_dim)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, where the system is one of :mod:`bayescg.systems`."""
        return {
            "system": system_config(self.system),
            "latent_dim": self.latent_dim,
            "hidden": list(self.hidden),
            "components": self.components,
            "wake": self.wake,
            "beta_start": self.beta_start,
            "cess": self.cess,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> EmbeddedPhysics:
        """Model with the given configuration."""
        return cls(**{**config, "system": system_from_config(config["system"])})

    @classmethod
    def example(cls) -> tuple[EmbeddedPhysics, None, None]:
        """A double well in the plane, by the plain bound at its own temperature: a loss with exact gradients."""
        return cls(DoubleWell(), hidden=(8,), components=2, wake=0.0, beta_start=1.0), None, None

    @contextmanager
    def _draws(self, batch: Batch) -> Iterator[StratifiedMixture]:
        """Plate over the draws, each counting as its component's weight asks; gives q(z)."""
        if batch.index is not None and len(batch) < self.components:
            raise DataError(f"a batch of {len(batch)} draws has none of some of the {self.components} components")
        logits = _PACE * self.logits
        if batch.index is not None:
            component = batch.index % self.components
        else:  # to generate: as many of each component as its weight makes of them
            component = torch.distributions.Categorical(logits=logits).sample((len(batch),))
        prior = StratifiedMixture(logits, self.mean, self.log_sd.exp(), component)
        with batch.plate("frames"):
            if batch.index is None or self.components == 1:
                yield prior
            else:
                with poutine.scale(scale=prior.share):
                    yield prior
