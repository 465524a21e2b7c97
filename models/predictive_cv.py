"""Collective variables as hidden generators of the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_choice, check_counts, positive_pair, widths
from bayescg.data import toy_curve
from bayescg.features import Features, HasPositions, UnboundedCoordinates, unbounded_coordinates
from bayescg.modelling import Batch, FeatureModel

DECODERS = ("gaussian", "flow")
NARROWEST = 0.3
"""Of z given a frame, before a flow: finer than that, z would be a code that the flow takes long to learn."""


class PredictiveCV(FeatureModel):
    r"""Predictive collective variables (Schöberl, Zabaras, Koutsourelakis 2019).

    The frames, read through features y of size D, come from a few latent variables z, the CVs:

    .. math:: z \sim N(0, I), \qquad y \mid z, \theta \sim N(\mu_\theta(z), \mathrm{diag}\,\sigma^2)

    The decoder's weights have an ARD prior, :math:`\theta_k \sim N(0, 1/\tau_k)`, :math:`\tau_k \sim \Gamma(a, b)`,
    and a posterior; the guide q(z | y), a diagonal Gaussian, is the CV of a configuration with its intrinsic
    uncertainty.

    A Gaussian whose width no z changes blurs what bends a molecule. With ``decoder="flow"`` the conformation x itself
    comes from z through a normalising flow (:class:`bayescg.nets.SplineFlow`), over bonds, angles and torsions
    stretched to real numbers u, circular where angles are, and z has such a density, too:

    .. math:: z \sim p(z), \qquad u(x) \mid z \sim p(u \mid z)

    The density is that of conformations, rigid motions apart, whatever scales u has.

    Such a decoder needs no z to be right, and would leave z without meaning. So the frames are observed a second time,
    through the features and the Gaussian above, which say what of x the CVs are to hold; no density counts that term,
    and the flow moves no CV. So that z is no code of single frames, q(z | y) is at least 0.3 wide.

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
    decoder : {"gaussian", "flow"}
        A flow over features that are positions, such as those of :func:`bayescg.features.aligned`, is over the bonds,
        angles and torsions of these atoms; over others, it is over the features. ``bcg.fit`` then trains no refits
        unless asked to.
    layers, bins : int
        Of the flow: coupling layers, each with networks of the widths `hidden`, and bins of their splines;
        soft torsions come first, see :class:`bayescg.nets.FlowDecoder`.
    coordinates : UnboundedCoordinates, optional
        What the flow is over; by default :func:`bayescg.features.unbounded_coordinates` of the training frames.

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
        decoder: str = "gaussian",
        layers: int = 6,
        bins: int = 8,
        coordinates: UnboundedCoordinates | None = None,
    ):
        super().__init__()
        check_counts(latent_dim=(latent_dim, 1), layers=(layers, 1), bins=(bins, 2))
        check_choice(decoder=(decoder, DECODERS))
        self.latent_dim, self.hidden, self.ard = latent_dim, widths(hidden), positive_pair(ard, "ard")
        self.layers, self.bins, self.coordinates = layers, bins, coordinates
        self.back: nets.FlowDecoder | None = None
        self.flows = decoder == "flow"
        if self.flows:  # each refit would take as long again
            self.uncertainty = "none"  # type: ignore[misc]
        self.begin(features, dim)

    def build(self, size: int) -> None:
        """Decoder, noise and encoder; a flow where what it is over is known already."""
        self.decoder = nets.MLP(self.latent_dim, size, self.hidden)
        self.log_noise = nn.Parameter(torch.zeros(size))
        narrowest = NARROWEST if self.flows else 0.0
        self.encoder = nets.ConditionalGaussian(size, self.latent_dim, self.hidden, narrowest=narrowest)
        if self.flows and (self.coordinates is not None or not isinstance(self.features, HasPositions)):
            sizes = {"layers": self.layers, "bins": self.bins, "hidden": self.hidden}
            self.back = nets.FlowDecoder(self.latent_dim, size, self.features, self.coordinates, **sizes)

    def setup(self, frames: Any) -> None:
        """Standardise the features over the frames, and what a flow is over."""
        if self.flows and self.back is None and isinstance(self.features, HasPositions):
            self.coordinates = unbounded_coordinates(frames)
            self.build(self.features.size)
        super().setup(frames)
        if self.back is not None:
            self.back.place(self.sample(frames))

    def model(self, batch: Batch) -> None:
        """Theta ~ ARD; z ~ N(0, I); y ~ N(decoder(z), diag(noise^2)); or z and u of flows, and y beside."""
        if self.back is not None:
            self._flow(batch, self.back)
            return
        decoder = nets.random_net(self, "decoder", {"weight": nets.ard(*self.ard), "bias": nets.gaussian(3.0)})
        log_noise = pyro.sample("log_noise", nets.gaussian(3.0)(self.log_noise))
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(log_noise.new_zeros(self.latent_dim), 1.0).to_event(1))
            y = dist.Normal(self.scale.inverse(decoder(z)), self.scale.width * log_noise.exp())
            pyro.sample("x", y.to_event(1), obs=batch.x)

    def _flow(self, batch: Batch, back: nets.FlowDecoder) -> None:
        """Z ~ p(z); y ~ p(u | z), read as y; beside, z and y of the Gaussian decoder."""
        with batch.plate("frames"):
            z = pyro.sample("z", back.latent())
            pyro.sample("x", back(z), obs=batch.x)
            mean, sd = self.scale.inverse(self.decoder(z)), self.scale.width * self.log_noise.exp()
            beside = torch.cat([torch.zeros_like(z), mean], -1), torch.cat([torch.ones_like(z), sd.expand_as(mean)], -1)
            pyro.sample("beside", dist.Normal(*beside).to_event(1), infer={"is_auxiliary": True})

    def guide(self, batch: Batch) -> None:
        """Z ~ encoder(y)."""
        with batch.plate("frames"):
            z = pyro.sample("z", self.encoder(self.scale(batch.x)))
            if self.back is not None and batch.x is not None:
                pyro.sample("beside", dist.Delta(torch.cat([z, batch.x], -1)).to_event(1), infer={"is_auxiliary": True})

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """q(z | y(x)) for positions ``(n, atoms, 3)``: batch shape ``(n,)``, event shape ``(latent_dim,)``."""
        return self.encoder(self.scale(self.inputs(x)))

    @property
    def conformations(self) -> bool:
        """Whether the density is one of conformations: of features that are their coordinates, or by a flow."""
        return (self.flows and isinstance(self.features, HasPositions)) or super().conformations

    def log_volume(self, x: Tensor) -> Tensor:
        """As of `FeatureModel`; a flow's density is one of conformations as it is."""
        return super().log_volume(x) if self.coordinates is None else torch.zeros_like(x[..., 0])

    def network(self) -> list[nn.Module]:
        """What features pass on their way to the CVs; see :class:`bayescg.modelling.HasNetwork`."""
        return [self.scale, self.encoder]

    def reset(self) -> None:
        """Draw fresh weights; the noise starts at half the spread of each coordinate."""
        super().reset()
        nn.init.constant_(self.log_noise, -0.7)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model."""
        return {**super().config(), "decoder": DECODERS[self.flows]}

    def arguments(self, *without: str) -> dict[str, Any]:
        """Arguments as JSON; the decoder, which is also the name of a network, is told by `config`."""
        return super().arguments("decoder", *without)

    @classmethod
    def example(cls) -> tuple[PredictiveCV, Any, None]:
        """One latent variable behind 64 frames in four dimensions."""
        return cls(latent_dim=1, hidden=(8,), dim=4), toy_curve(), None
