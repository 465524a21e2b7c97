"""A model of a third party's over features of the positions: their principal axes, with noise."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg
from bayescg import nets


class PrincipalAxes(bcg.modelling.FeatureModel):
    """A few independent latent variables behind the standardised features.

    References
    ----------
    Tipping, Bishop, "Probabilistic principal component analysis", J. R. Stat. Soc. B 61, 611 (1999), eq. (2).
    """

    uncertainty = "bootstrap"

    def __init__(self, features=None, latent_dim=1, dim=None):
        super().__init__()
        self.latent_dim = latent_dim
        self.begin(features, dim)

    def build(self, size):
        self.axes = nn.Linear(self.latent_dim, size)
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.encoder = nets.ConditionalGaussian(size, self.latent_dim, hidden=())

    def model(self, batch):
        axes = nets.random_net(self, "axes", {"weight": nets.gaussian(1.0), "bias": nets.gaussian(1.0)})
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(self.log_noise.new_zeros(self.latent_dim), 1.0).to_event(1))
            width: torch.Tensor = self.scale.width  # type: ignore[assignment]
            y = dist.Normal(self.scale.inverse(axes(z)), width * self.log_noise.exp())
            pyro.sample("x", y.to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(self.scale(batch.x)))

    def cv(self, x):
        return self.encoder(self.scale(self.inputs(x)))

    @classmethod
    def example(cls):
        generator = torch.Generator().manual_seed(1)
        x = torch.randn(48, 1, generator=generator) * torch.tensor([2.0, 1.0, 0.2])
        x = x + 0.2 * torch.randn(48, 3, generator=generator)
        return cls(dim=3), bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0), None
