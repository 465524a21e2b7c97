"""Autoencoder: a few latent variables from which a frame is rebuilt, with noise of a learned width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from bayescg import nets
from bayescg.arguments import check_counts, check_numbers, widths
from bayescg.data import toy_curve
from bayescg.errors import ModelError
from bayescg.features import Features
from bayescg.modelling import Batch, FeatureModel

TERMS = ("gradient", "variance", "covariance", "rayleigh", "orthonormal")


class Autoencoder(FeatureModel):
    r"""Autoencoder with a likelihood (Kingma, Welling 2014), regularised if wanted (Zhang, Schütte 2023).

    Standardised features y come from latent variables z, the CVs, with isotropic noise whose width is learned:

    .. math:: z \sim N(0, I), \qquad y \mid z \sim N(g(z), \sigma^2 I), \qquad q(z \mid y) = N(e(y), s(y)^2)

    The sum of squares of a plain autoencoder is this likelihood with one fixed width, which then weighs the
    reconstruction against the prior by the unit of length. With linear g it is probabilistic principal component
    analysis. An autoencoder sees no time: its CVs are directions of large variance, slow or not.

    ``regularise`` adds averages over the frames, each times its own weight, in nats per frame: ``"gradient"``,
    :math:`\sum_i |\nabla e_i|^2`; ``"variance"``, :math:`\sum_i (\mathrm{Var}\,e_i - 1)^2`; ``"covariance"``,
    :math:`\sum_{i<j} \mathrm{Cov}(e_i, e_j)^2`; ``"rayleigh"``, :math:`\sum_i \langle |\nabla f_i|^2 \rangle /
    \mathrm{Var} f_i` of functions :math:`f_i` of the CVs; ``"orthonormal"``, :math:`\sum_{i \le j} (\mathrm{Cov}(f_i,
    f_j) - \delta_{ij})^2`, without which the Rayleigh quotients say little. Gradients are with respect to y. The
    objective is then no evidence any more.

    Parameters
    ----------
    features : Features or None
        What of a configuration is modelled; None for its flat coordinates.
    latent_dim : int
        Number of CVs, and of the functions of them.
    hidden : sequence of int
        Widths of the hidden layers of decoder and encoder.
    regularise : mapping, optional
        Weights of the terms above.
    dim : int, optional
        Number of flat coordinates when `features` is None; taken from the frames when absent.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-encoding variational Bayes", ICLR 2014, eq. (3). M. E. Tipping, C. M. Bishop,
    "Probabilistic principal component analysis", J. R. Stat. Soc. B 61, 611 (1999), eqs. (7)-(8). W. Zhang,
    C. Schütte, "Understanding recent deep-learning techniques for identifying collective variables of molecular
    dynamics", arXiv:2307.00365 (2023), for the regularised form.

    Examples
    --------
    >>> model, frames, _ = Autoencoder.example()
    >>> model.setup(frames)
    >>> model.cv(torch.as_tensor(frames.positions)).mean.shape
    torch.Size([64, 1])
    """

    uncertainty = "bootstrap"
    scale: nets.Standardise
    citation = "Kingma, Welling, ICLR 2014, arXiv:1312.6114; Zhang, Schütte, arXiv:2307.00365 (2023)"

    def __init__(
        self,
        features: Features | None = None,
        latent_dim: int = 2,
        hidden: Sequence[int] = (64, 64),
        regularise: Mapping[str, float] | None = None,
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1))
        if regularise is not None and not isinstance(regularise, Mapping):
            raise ModelError('regularise maps terms to their strengths: {"gradient": 0.1}, say')
        if unknown := set(regularise or ()) - set(TERMS):
            raise ModelError(f"regularise has no term {', '.join(map(str, unknown))}; there are {', '.join(TERMS)}")
        self.latent_dim, self.hidden, self.regularise = latent_dim, widths(hidden), dict(regularise or {})
        check_numbers(**{name: (strength, "[0, inf)") for name, strength in self.regularise.items()})
        if self.regularise:  # variances of a batch are no sums over its frames
            self.kind, self.additive, self.minimum_batch = "generalised", False, 32  # type: ignore[misc]
        self.begin(features, dim)

    def build(self, size: int) -> None:
        """Encoder, decoder and the width of the noise; and functions of the CVs where they are asked for."""
        self.encoder = nets.ConditionalGaussian(size, self.latent_dim, self.hidden)
        self.decoder = nets.MLP(self.latent_dim, size, self.hidden)
        self.log_noise = nn.Parameter(torch.zeros(()))
        if {"rayleigh", "orthonormal"} & set(self.regularise):
            self.functions = nets.MLP(self.latent_dim, self.latent_dim, self.hidden[-1:])

    def model(self, batch: Batch) -> None:
        """Z ~ N(0, I); y ~ N(decoder(z), noise^2 I)."""
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(self.log_noise.new_zeros(self.latent_dim), 1.0).to_event(1))
            y = dist.Normal(self.scale.inverse(self.decoder(z)), self.scale.width * self.log_noise.exp())
            pyro.sample("x", y.to_event(1), obs=batch.x)
            if self.regularise and batch.x is not None:
                pyro.factor("regularisation", -self._penalty(self.scale(batch.x), batch.weight).expand(len(batch)))

    def guide(self, batch: Batch) -> None:
        """Z ~ encoder(y)."""
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(self.scale(batch.x)))

    def _penalty(self, y: Tensor, weight: Tensor | None) -> Tensor:
        w = torch.ones_like(y[:, 0]) if weight is None else weight
        w, terms = w / w.sum(), {}
        e = self.encoder(y).mean
        cov = _covariance(e, w)
        terms["variance"] = (cov.diagonal() - 1).square().sum()
        terms["covariance"] = torch.triu(cov, 1).square().sum()
        if "gradient" in self.regularise:
            terms["gradient"] = w @ _slopes(lambda v: self.encoder(v).mean, y).sum(1)
        if hasattr(self, "functions"):
            cov = _covariance(self.functions(e), w)
            terms["orthonormal"] = torch.triu(cov - torch.eye(len(cov)).to(cov)).square().sum()
            if "rayleigh" in self.regularise:
                slopes = _slopes(lambda v: self.functions(self.encoder(v).mean), y)
                terms["rayleigh"] = (w @ slopes / cov.diagonal()).sum()
        return torch.stack([strength * terms[name] for name, strength in self.regularise.items()]).sum()

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """q(z | y(x)) for positions ``(n, atoms, 3)``: batch shape ``(n,)``, event shape ``(latent_dim,)``."""
        return self.encoder(self.scale(self.inputs(x)))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder]

    def reset(self) -> None:
        """Draw fresh weights; the noise starts at half the spread of a coordinate."""
        super().reset()
        nn.init.constant_(self.log_noise, -0.7)

    @classmethod
    def example(cls) -> tuple[Autoencoder, Any, None]:
        """One latent variable behind 64 frames in four dimensions."""
        return cls(latent_dim=1, hidden=(8,)), toy_curve(), None


def _covariance(f: Tensor, w: Tensor) -> Tensor:
    centred = f - w @ f
    return centred.T @ (w[:, None] * centred)


def _slopes(function: Any, y: Tensor) -> Tensor:
    """Squared gradients of each function, ``(n, functions)``."""
    return vmap(jacrev(function))(y).square().sum(-1)
