"""Time-lagged autoencoder: a few latent variables of a frame from which a later one is foretold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, widths
from bayescg.data import Pairs, toy_relaxations
from bayescg.features import Features
from bayescg.modelling import Batch, PairModel


class TimeLaggedAutoencoder(PairModel):
    r"""Time-lagged autoencoder with a likelihood (Wehmeyer, Noé 2018).

    Of whitened features y, those a lag time later are normal around what the CVs e of the present ones foretell:

    .. math:: y_{t+\tau} \mid y_t \sim N\big(g(e(y_t)), \sigma^2 I\big)

    The published loss, a sum of squares, is this likelihood with a fixed width; here the width is learned, so that the
    loss is in nats per pair whatever the features. The likelihood is conditional: there is no prior of the CVs and
    nothing to collapse onto it, as the bound of a time-lagged variational autoencoder on log p(y) does. With linear e
    and g the CVs span the leading canonical directions of the two frames, those of TICA for a reversible process.
    Without whitening, or with a nonlinear g, it mixes slow and high-variance directions: its CVs are a `basis` in which
    :func:`bayescg.analysis.spectrum` finds the slow modes.

    Parameters
    ----------
    features : Features or None
        What of a configuration is read and foretold; None for its flat coordinates.
    latent_dim : int
        Number of CVs.
    hidden : sequence of int
        Widths of the hidden layers of encoder and decoder.
    dim, lag, rank : optional
        Number of coordinates, lag time and number of whitened features; taken from the training pairs when absent.

    References
    ----------
    C. Wehmeyer, F. Noé, "Time-lagged autoencoders: deep learning of slow collective variables for molecular kinetics",
    J. Chem. Phys. 148, 241703 (2018), eqs. (1)-(8); arXiv:1710.11239. The linear case is reduced-rank regression:
    A. J. Izenman, J. Multivariate Anal. 5, 248 (1975).

    Examples
    --------
    >>> model, pairs, _ = TimeLaggedAutoencoder.example()
    >>> model.setup(pairs)
    >>> model.cv(torch.as_tensor(pairs.frames.positions)).mean.shape, model.lag
    (torch.Size([100, 1]), 1.0)
    """

    pair_density = "features"
    uncertainty = "bootstrap"
    citation = "Wehmeyer, Noé, J. Chem. Phys. 148, 241703 (2018), doi:10.1063/1.5011399"

    def __init__(
        self,
        features: Features | None = None,
        latent_dim: int = 1,
        hidden: Sequence[int] = (64, 64),
        dim: int | None = None,
        lag: float | None = None,
        rank: int | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1))
        self.latent_dim, self.hidden = latent_dim, widths(hidden)
        self.begin(features, dim, lag, rank)

    def build(self, size: int) -> None:
        """Encoder, decoder and the width of the noise."""
        self.encoder = nets.MLP(size, self.latent_dim, self.hidden)
        self.decoder = nets.MLP(self.latent_dim, size, self.hidden)
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.unit = nets.Whiten(self.latent_dim)  # of the CVs, whose scale the likelihood leaves open

    def model(self, batch: Batch) -> None:
        """Y ~ N(decoder(encoder(x)), noise^2 I)."""
        with batch.plate("frames"):
            y = dist.Normal(self.decoder(self.encoder(batch.x)), self.log_noise.exp())
            pyro.sample("y", y.to_event(1), obs=batch.y)

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden: the CVs are a function of the frame."""

    def finish(self, frames: Pairs, weight: Tensor) -> None:
        """Choose the gauge of the CVs: uncorrelated over the training frames, each of unit variance."""
        with torch.no_grad():
            e = self.encoder(self.scale(self.sample(frames.frames).to(self.log_noise)))
            self.unit.set(e.mean(0), e.T.cov(correction=0).reshape(self.latent_dim, self.latent_dim))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The CVs of positions ``(n, atoms, 3)``: batch shape ``(n,)``, event shape ``(latent_dim,)``.

        They are functions of the configuration: the width of 1e-6 stands for none.
        """
        return nets.exactly(self.unit(self.basis(x)))

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder, self.unit]

    def basis(self, x: Tensor) -> Tensor:
        """The CVs of positions, ``(n, latent_dim)``."""
        return self.encoder(self.inputs(x))

    @classmethod
    def example(cls) -> tuple[TimeLaggedAutoencoder, Any, None]:
        """One slow and two fast coordinates, mixed."""
        frames = toy_relaxations([0.9, 0.3, 0.1], [[1.0, 0.5, 0.0], [-2.0, 1.0, 0.3], [0.4, 0.0, 1.0]])
        return cls(hidden=(8,)), frames.lagged(1.0), None
