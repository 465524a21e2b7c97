"""A third party's model, as a user would write it: probabilistic PCA with one latent variable."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg
from bayescg import nets


class OneAxis(bcg.Model):
    """One latent variable along one direction of the coordinates.

    References
    ----------
    Tipping, Bishop, "Probabilistic principal component analysis", J. R. Stat. Soc. B 61, 611 (1999), eq. (2).
    """

    def __init__(self, dim: int = 3):
        super().__init__()
        self.dim = dim
        self.axis = nn.Linear(1, dim)
        self.log_noise = nn.Parameter(torch.zeros(()))
        self.encoder = nets.ConditionalGaussian(dim, 1, hidden=())

    def model(self, batch):
        axis = nets.random_net(self, "axis", {"weight": nets.gaussian(2.0), "bias": nets.gaussian(2.0)})
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(self.log_noise.new_zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(axis(z), self.log_noise.exp()).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(batch.x))

    def cv(self, x):
        return self.encoder(x.flatten(1))

    def config(self):
        return {"dim": self.dim}

    @classmethod
    def example(cls):
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(40, 1, generator=generator)
        x = z * torch.tensor([1.0, -0.5, 2.0]) + 0.3 * torch.randn(40, 3, generator=generator)
        return cls(), bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0), None
