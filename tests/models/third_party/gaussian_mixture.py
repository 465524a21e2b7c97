"""A Gaussian mixture, written from CONTRIBUTING's page alone: nothing is left for the guide to propose."""

import pyro
import pyro.distributions as dist
import torch
from torch import nn

import bayescg as bcg


class GaussianMixture(bcg.Model):
    """Frames in a few clusters; the CV of a frame is how likely it belongs to each.

    References
    ----------
    Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm", J. R. Stat. Soc. B 39, 1
    (1977), section 4.3.
    """

    def __init__(self, dim, states=2):
        super().__init__()
        self.dim, self.states = dim, states
        self.centres = nn.Parameter(torch.randn(states, dim))
        self.log_width = nn.Parameter(torch.zeros(states, dim))
        self.logits = nn.Parameter(torch.zeros(states))

    def reset(self):
        nn.init.normal_(self.centres)

    def clusters(self):
        return dist.Normal(self.centres, self.log_width.exp()).to_event(1)

    def model(self, batch):
        with batch.plate("frames"):
            x = dist.MixtureSameFamily(dist.Categorical(logits=self.logits), self.clusters())
            pyro.sample("x", x, obs=batch.x)

    def guide(self, batch):
        pass

    def cv(self, x):
        x = self.inputs(x)
        log_joint = self.logits.log_softmax(0) + self.clusters().log_prob(x[:, None])
        return dist.Normal(log_joint.softmax(-1), 1e-3).to_event(1)

    @classmethod
    def example(cls):
        generator = torch.Generator().manual_seed(0)
        side = torch.randint(2, (60, 1), generator=generator) * 4.0 - 2.0
        x = side * torch.tensor([1.0, 0.5]) + 0.5 * torch.randn(60, 2, generator=generator)
        return cls(dim=2), bcg.data.Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=1.0), None
