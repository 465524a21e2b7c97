"""Models with one fault each, which the contract must name."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg
from bayescg import nets


class _Sound(bcg.Model):
    """What the faulty ones below share.

    References
    ----------
    None: these models exist to be refused.
    """

    def __init__(self, dim: int = 2):
        super().__init__()
        self.dim = dim
        self.decoder = nn.Linear(1, dim)
        self.encoder = nets.ConditionalGaussian(dim, 1, hidden=())

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", self.encoder(batch.x))

    def config(self):
        return {"dim": self.dim}

    @classmethod
    def example(cls):
        x = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
        return cls(), bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0), None


class Undocumented(_Sound):
    pass


class MisspeltSite(_Sound):
    __doc__ = _Sound.__doc__

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("zz", self.encoder(batch.x))


class ExtraSite(_Sound):
    __doc__ = _Sound.__doc__

    def guide(self, batch):
        super().guide(batch)
        with batch.plate("more frames"):
            pyro.sample("w", dist.Normal(batch.x.new_zeros(len(batch)), 1.0))


class PlateOfTheBatch(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        with pyro.plate("frames", len(batch), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with pyro.plate("frames", len(batch), dim=-1):
            pyro.sample("z", self.encoder(batch.x))


class PlateWithoutWeights(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        with pyro.plate("frames", batch.total, subsample=torch.arange(len(batch)), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with pyro.plate("frames", batch.total, subsample=torch.arange(len(batch)), dim=-1):
            pyro.sample("z", self.encoder(batch.x))


class UnusedParameter(_Sound):
    __doc__ = _Sound.__doc__

    def __init__(self, dim: int = 2):
        super().__init__(dim)
        self.forgotten = nn.Parameter(torch.ones(3))


class CutGradient(_Sound):
    """Its noise is right, but its gradient by the decoder's bias is only half of it.

    References
    ----------
    None.
    """

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            mean = 0.5 * self.decoder(z) + 0.5 * self.decoder(z).detach()
            pyro.sample("x", dist.Normal(mean, 0.5).to_event(1), obs=batch.x)


class WithoutReparameterisation(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.VonMises(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", dist.VonMises(self.encoder(batch.x).mean, 1.0).to_event(1))


class DiscreteLatent(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Bernoulli(0.5 * torch.ones(1)).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", dist.Bernoulli(logits=self.encoder(batch.x).mean).to_event(1))


class NotFinite(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), 0.5).to_event(1), obs=batch.x / 0.0)


class GlobalParameter(_Sound):
    __doc__ = _Sound.__doc__

    def model(self, batch):
        pyro.param("shift", torch.zeros(1))
        super().model(batch)


class ConfigForgets(_Sound):
    __doc__ = _Sound.__doc__

    def __init__(self, dim: int = 2, width: int = 3):
        super().__init__(dim)
        self.encoder = nets.ConditionalGaussian(dim, 1, hidden=(width,))

    @classmethod
    def example(cls):
        return cls(2, 5), _Sound.example.__func__(_Plain)[1], None


class _Plain(_Sound):
    __doc__ = _Sound.__doc__


class Unknown(_Sound):
    __doc__ = _Sound.__doc__
    kind = "guess"


class Careless(_Sound):
    """Draws from torch's global generator where it reads the frames.

    References
    ----------
    None.
    """

    def inputs(self, x):
        return super().inputs(x) + 0 * torch.rand(1, dtype=x.dtype)


class TensorForDistribution(_Sound):
    __doc__ = _Sound.__doc__

    def cv(self, x):
        return self.encoder(self.inputs(x)).mean


class NetworkOfAnotherCV(_Sound):
    __doc__ = _Sound.__doc__

    def cv(self, x):
        return self.encoder(2 * self.inputs(x))

    def network(self):
        return [self.encoder]


class PositionsOfAnotherShape(_Sound):
    __doc__ = _Sound.__doc__

    def positions(self, x):
        return x[..., :1]
