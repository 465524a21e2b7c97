"""NumPy in a model's programs is refused before a fit, and nowhere else."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg.errors import ModelError


@torch.library.custom_op("bayescg_tests::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    """Twice x, by NumPy: what happens within an operator is its own affair."""
    return torch.from_numpy(2 * x.detach().numpy())


class Noisy(bcg.Model):
    """x ~ N(z, noise^2), z ~ N(0, 1), with programs that are given."""

    def __init__(self, noise: Any = torch.exp, proposal: Any = torch.asinh):
        super().__init__()
        self.log_noise = nn.Parameter(torch.zeros(1))
        self.net = nn.Linear(1, 1)
        self.noise, self.proposal = noise, proposal

    def model(self, batch):
        with batch.plate("frames"):
            z = pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, self.noise(self.log_noise)).to_event(1), obs=batch.x)

    def guide(self, batch):
        with batch.plate("frames"):
            pyro.sample("z", dist.Normal(self.net(self.proposal(batch.x)), 0.5).to_event(1))

    def config(self):
        return {}

    @classmethod
    def example(cls):
        raise NotImplementedError


@pytest.mark.parametrize(
    "program",
    [
        {"noise": lambda x: np.exp(x)},
        {"noise": lambda x: torch.as_tensor(np.exp(x.detach().numpy()))},
        {"proposal": lambda x: torch.as_tensor(np.arcsinh(np.asarray(x)))},
        {"proposal": lambda x: torch.as_tensor(np.arcsinh(x))},
    ],
    ids=["a parameter", "detached", "frames", "frames by a ufunc"],
)
def test_a_program_that_uses_numpy_is_named_with_its_line(toy_frames, program):
    with pytest.raises(ModelError, match=r"test_tensors_only\.py, line \d+ \(.*np\..*use torch"):
        bcg.fit(Noisy(**program), toy_frames(dim=1), steps=2)


def test_a_custom_operator_may_use_numpy(toy_frames):
    bcg.fit(Noisy(proposal=lambda x: doubled(x)), toy_frames(dim=1), steps=2, compile="off", validation=0.0)


@pytest.mark.parametrize(("where", "table"), [("proposal", False), ("noise", True)])
def test_a_table_of_shapes_is_shown_once_there_is_a_site_in_it(where: str, table: bool) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise ValueError("nothing fits")

    frames = bcg.data.Frames.from_numpy(np.zeros((20, 1)), unit="reduced", temperature_kT=1.0)
    with pytest.raises(ModelError, match="nothing fits") as found:
        bcg.fit(Noisy(**{where: broken}), frames, steps=1, compile="off", progress=False)
    assert ("Trace Shapes" in str(found.value)) == table
    assert str(found.value).rstrip() == str(found.value)
