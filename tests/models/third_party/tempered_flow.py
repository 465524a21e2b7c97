"""A third party's model of energies alone, with a schedule of its own: a flow, and temperatures in geometric series."""

import pyro
import torch

import bayescg as bcg
from bayescg import nets
from bayescg.distributions import Boltzmann
from bayescg.modelling import Schedule, SystemModel


class Geometric(Schedule):
    """Inverse temperatures start, start r, start r^2, ..., 1, one after another in the first three fifths of a fit."""

    legend = "minus a bound on log Z, colder and colder"

    def __init__(self, start, levels, steps):
        super().__init__()
        self.start, self.levels, self.stride, self.level = start, levels, max(1, 3 * steps // (5 * levels)), 0

    def buffers(self):
        return {"beta": self.start ** (1 - self.level / self.levels)}

    def due(self, step):
        return self.level < self.levels and step % self.stride == 0

    def advance(self, step, draws):
        self.level += 1

    def warnings(self):
        return [] if self.level == self.levels else ["the fit ended before the system's own temperature was reached"]

    def state(self):
        return {"level": self.level}

    def load(self, state, tensors):
        self.level = state["level"]


class TemperedFlow(SystemModel):
    """A normalising flow against the Boltzmann factor of a toy system, cooled in a geometric series.

    References
    ----------
    Noé, Olsson, Köhler, Wu, Science 365, eaaw1147 (2019), eq. (3).
    """

    beta: torch.Tensor

    def __init__(self, system, start=0.05, levels=12, layers=4, coordinates=None):
        super().__init__()
        self.begin(system, coordinates, guard=1000.0)
        self.start, self.levels, self.layers = start, levels, layers
        self.flow = nets.SplineFlow([False] * self.system.dim, layers=layers, bins=8, hidden=(16,))
        self.flow.place(torch.zeros(self.system.dim), 1.0)
        self.register_buffer("beta", torch.ones(()))

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", self.flow())

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", Boltzmann(self.system, self.beta), obs=batch.x)

    def schedule(self, steps, members, frames):
        return Geometric(self.start, self.levels, steps)

    @classmethod
    def example(cls):
        return cls(bcg.systems.DoubleWell()), None, None
