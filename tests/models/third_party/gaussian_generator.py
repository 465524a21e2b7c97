"""A model of a third party's over a system: the Gaussian nearest to its Boltzmann distribution."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg


class GaussianGenerator(bcg.modelling.SystemModel):
    """An independent Gaussian over each coordinate, fitted to the energies by the variational bound.

    References
    ----------
    Jordan, Ghahramani, Jaakkola, Saul, "An introduction to variational methods for graphical models", Mach. Learn. 37,
    183 (1999), section 5.
    """

    def __init__(self, system, coordinates=None, guard=1000.0):
        super().__init__()
        self.begin(system, coordinates, guard)
        self.mean = nn.Parameter(torch.zeros(self.system.dim))
        self.log_width = nn.Parameter(torch.zeros(self.system.dim))

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", bcg.distributions.Boltzmann(self.system))

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, self.log_width.exp()).to_event(1))

    def reset(self):
        nn.init.normal_(self.mean)
        nn.init.zeros_(self.log_width)

    @classmethod
    def example(cls):
        return cls(bcg.systems.DoubleWell()), None, None
