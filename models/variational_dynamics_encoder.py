"""Variational dynamics encoder: latent variables that foretell a later frame, and themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_positive, widths
from bayescg.data import toy_relaxations
from bayescg.features import Features
from bayescg.modelling import Batch, PairModel


class VariationalDynamicsEncoder(PairModel):
    r"""Variational dynamics encoder, all of its terms in nats (Hernández et al. 2018).

    A noisy encoder reads the CVs z of a frame and z' of the one a lag time later. Of whitened features y,

    .. math:: L = \langle \log N(y_{t+\tau}; g(z), \sigma^2 I) \rangle
              - \beta \, \mathrm{KL}\big(q(z \mid y_t) \,\|\, N(0, I)\big)
              + \beta \left\langle \log \frac{N(z'; \rho z, 1 - \rho^2)}{N(z'; 0, 1)} \right\rangle

    The published loss has a mean square in place of the first term, which fixes the width of the noise by the unit of
    length, and the batch's own autocorrelation in place of the last, of another unit than the rest and biased by the
    size of the batch. Here noise and autocorrelation are learned, and the last term, whose largest value is
    :math:`-\frac12 \log(1 - \rho^2)`, bounds the information that z has about z': together L bounds
    :math:`I(z; y_{t+\tau}) - \beta \, [I(z; y_t) - I(z; z')]` up to the entropy of y, an information bottleneck: what
    foretells the later frame, less what z holds of a frame and does not keep in time. It is a sum over pairs, whose
    weights do not depend on the size of a batch, and no likelihood of them.

    A CV of autocorrelation r is worth its price where :math:`r^2 > \beta`; otherwise the optimum is a CV that knows
    nothing. At :math:`\beta = 1` it is already where r < 0.88, at lags above an eighth of the relaxation time; the
    default allows lags up to the relaxation time.

    :math:`\rho` is the autocorrelation of a noisy CV in a process with Gaussian marginals: too small for the slowest
    mode, and the wrong shape for a metastable one. For timescales use the CVs as a `basis`
    (:func:`bayescg.analysis.spectrum`).

    Parameters
    ----------
    features : Features or None
        What of a configuration is read and foretold; None for its flat coordinates.
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of encoder and decoder.
    price : float
        The weight beta of what the CVs hold of a frame and do not keep.
    dim, lag, rank : optional
        Number of coordinates, lag time and number of whitened features; taken from the training pairs when absent.

    References
    ----------
    C. X. Hernández, H. K. Wayment-Steele, M. M. Sultan, B. E. Husic, V. S. Pande, "Variational encoding of complex
    dynamics", Phys. Rev. E 97, 062412 (2018), eqs. (5)-(9); arXiv:1711.08576.

    Examples
    --------
    >>> model, pairs, _ = VariationalDynamicsEncoder.example()
    >>> model.setup(pairs)
    >>> model.cv(torch.as_tensor(pairs.frames.positions)).mean.shape, model.lag
    (torch.Size([100, 1]), 1.0)
    """

    uncertainty = "bootstrap"
    citation = "Hernández et al., Phys. Rev. E 97, 062412 (2018), doi:10.1103/PhysRevE.97.062412"

    def __init__(
        self,
        features: Features | None = None,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        price: float = 0.1,
        dim: int | None = None,
        lag: float | None = None,
        rank: int | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1))
        check_positive(price=price)
        self.latent_dim, self.hidden, self.price = latent_dim, widths(hidden), float(price)
        self.begin(features, dim, lag, rank)

    def build(self, size: int) -> None:
        """Encoder, decoder, the width of the noise and the autocorrelations."""
        self.encoder = nets.ConditionalGaussian(size, self.latent_dim, self.hidden)
        self.decoder = nets.MLP(self.latent_dim, size, self.hidden)
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.arctanh_rho = nn.Parameter(torch.zeros(self.latent_dim))

    def model(self, batch: Batch) -> None:
        """Z ~ N(0, I); y ~ N(decoder(z), noise^2 I); and what z says of the CVs of y."""
        rho = self.arctanh_rho.tanh()
        with batch.plate("frames"):
            with poutine.scale(scale=self.price):
                z = pyro.sample("z", dist.Normal(torch.zeros_like(rho), 1.0).to_event(1))
                later = self.encoder(batch.y).rsample()
                foretold = dist.Normal(rho * z, (1 - rho.square()).sqrt()).log_prob(later)
                gain = foretold - dist.Normal(torch.zeros_like(rho), 1.0).log_prob(later)
                pyro.factor("autocorrelation", gain.sum(-1))
            pyro.sample("y", dist.Normal(self.decoder(z), self.log_noise.exp()).to_event(1), obs=batch.y)

    def guide(self, batch: Batch) -> None:
        """Z ~ encoder(x)."""
        with batch.plate("frames"), poutine.scale(scale=self.price):
            pyro.sample("z", self.encoder(batch.x))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """q(z | y(x)) for positions ``(n, atoms, 3)``: batch shape ``(n,)``, event shape ``(latent_dim,)``."""
        return self.encoder(self.inputs(x))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder]

    def basis(self, x: Tensor) -> Tensor:
        """Means of the CVs of positions, ``(n, latent_dim)``."""
        return self.encoder(self.inputs(x)).mean

    def reset(self) -> None:
        """Draw fresh weights; the encoder starts sharp, because a blurred one would find nothing worth foretelling."""
        super().reset()
        with torch.no_grad():
            last = self.encoder.net[-1]
            assert isinstance(last, nn.Linear)
            last.bias[self.latent_dim :] -= 2.0
        nn.init.constant_(self.log_noise, -0.3)
        nn.init.constant_(self.arctanh_rho, 1.0)

    @classmethod
    def example(cls) -> tuple[VariationalDynamicsEncoder, Any, None]:
        """One slow coordinate and a fast one, mixed."""
        frames = toy_relaxations([0.95, 0.1], [[1.0, 0.5], [-2.0, 1.0]])
        return cls(hidden=(8,)), frames.lagged(1.0), None
