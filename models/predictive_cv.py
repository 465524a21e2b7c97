"""Collective variables as hidden generators of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_positive, widths
from bayescg.data import toy_curve
from bayescg.features import Features
from bayescg.modelling import Batch, FeatureModel


class PredictiveCV(FeatureModel):
    r"""Predictive collective variables (Schöberl, Zabaras, Koutsourelakis 2019).

    The frames, read through features y of size D, come from a few latent variables z, the CVs:

    .. math:: z \sim N(0, I), \qquad y \mid z, \theta \sim N(\mu_\theta(z), \mathrm{diag}\,\sigma^2)

    The decoder's weights have an ARD prior, :math:`\theta_k \sim N(0, 1/\tau_k)`, :math:`\tau_k \sim \Gamma(a, b)`,
    and a posterior; the guide q(z | y), a diagonal Gaussian, is the CV of a configuration with its intrinsic
    uncertainty.

    Parameters
    ----------
    features : Features or None
        What of a configuration is modelled; None for its flat coordinates.
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of decoder and encoder.
    ard : (float, float)
        Shape a and rate b of the prior over the weights' precisions.
    dim : int, optional
        Number of flat coordinates when `features` is None; taken from the frames when absent.

    References
    ----------
    M. Schöberl, N. Zabaras, P.-S. Koutsourelakis, "Predictive collective variable discovery with deep Bayesian
    models", J. Chem. Phys. 150, 024109 (2019), eqs. (4)-(12) and section II.D; arXiv 1809.06913.

    Examples
    --------
    >>> model, frames, _ = PredictiveCV.example()
    >>> model.setup(frames)
    >>> model.cv(torch.as_tensor(frames.positions)).mean.shape
    torch.Size([64, 1])
    """

    uncertainty = "bootstrap"
    scale: nets.Standardise
    citation = "Schöberl, Zabaras, Koutsourelakis, J. Chem. Phys. 150, 024109 (2019), doi:10.1063/1.5058063"

    def __init__(
        self,
        features: Features | None = None,
        latent_dim: int = 2,
        hidden: Sequence[int] = (64, 64),
        ard: tuple[float, float] = (1.0, 30.0),
        dim: int | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1))
        check_positive(**{f"ard[{i}]": value for i, value in enumerate(ard)})
        self.latent_dim, self.hidden, self.ard = latent_dim, widths(hidden), tuple(ard)
        self.begin(features, dim)

    def build(self, size: int) -> None:
        """Decoder, noise and encoder."""
        self.decoder = nets.MLP(self.latent_dim, size, self.hidden)
        self.log_noise = nn.Parameter(torch.zeros(size))
        self.encoder = nets.ConditionalGaussian(size, self.latent_dim, self.hidden)

    def model(self, batch: Batch) -> None:
        """Theta ~ ARD; z ~ N(0, I); y ~ N(decoder(z), diag(noise^2))."""
        decoder = nets.random_net(self, "decoder", {"weight": nets.ard(*self.ard), "bias": nets.gaussian(3.0)})
        log_noise = pyro.sample("log_noise", nets.gaussian(3.0)(self.log_noise))
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(log_noise.new_zeros(self.latent_dim), 1.0).to_event(1))
            y = dist.Normal(self.scale.inverse(decoder(z)), self.scale.width * log_noise.exp())
            pyro.sample("x", y.to_event(1), obs=batch.x)

    def guide(self, batch: Batch) -> None:
        """Z ~ encoder(y)."""
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(self.scale(batch.x)))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """q(z | y(x)) for positions ``(n, atoms, 3)``: batch shape ``(n,)``, event shape ``(latent_dim,)``."""
        return self.encoder(self.scale(self.inputs(x)))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder]

    def reset(self) -> None:
        """Draw fresh weights; the noise starts at half the spread of each coordinate."""
        super().reset()
        nn.init.constant_(self.log_noise, -0.7)

    @classmethod
    def example(cls) -> tuple[PredictiveCV, Any, None]:
        """One latent variable behind 64 frames in four dimensions."""
        return cls(latent_dim=1, hidden=(8,), dim=4), toy_curve(), None
