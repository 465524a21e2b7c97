"""A model of a third party's over pairs of frames: the later one is a linear map of the earlier, and noise."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg


class LinearPropagator(bcg.modelling.PairModel):
    """A few directions of a frame, and the map from them to a later one.

    References
    ----------
    Izenman, "Reduced-rank regression for the multivariate linear model", J. Multivariate Anal. 5, 248 (1975).
    """

    density = "features"

    def __init__(self, features=None, latent_dim=1, dim=None, lag=None, rank=None):
        super().__init__()
        self.latent_dim = latent_dim
        self.begin(features, dim, lag, rank)

    def build(self, size):
        self.directions = nn.Linear(size, self.latent_dim)
        self.later = nn.Linear(self.latent_dim, size)
        self.log_noise = nn.Parameter(torch.zeros(()))

    def model(self, batch):
        with batch.plate("frames"):
            y = dist.Normal(self.later(self.directions(batch.x)), self.log_noise.exp())
            pyro.sample("y", y.to_event(1), obs=batch.y)

    def guide(self, batch):
        pass

    def basis(self, x):
        return self.directions(self.inputs(x))

    def cv(self, x):
        return dist.Normal(self.basis(x), 1e-6).to_event(1)

    @classmethod
    def example(cls):
        generator = torch.Generator().manual_seed(2)
        noise, keep = torch.randn(80, 2, generator=generator), torch.tensor([0.9, 0.2])
        x = [noise[0]]
        for step in noise[1:]:
            x.append(keep * x[-1] + step)
        x = torch.stack(x) @ torch.tensor([[1.0, 0.5], [-0.5, 1.0]])
        frames = bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", dt=1.0, temperature_kT=1.0)
        return cls(), frames.lagged(1.0), None
