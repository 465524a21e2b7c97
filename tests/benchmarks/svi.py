"""The problems in Pyro as its users write them: modules, plates, Trace_ELBO, and `SVI.step`."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.infer import SVI, Trace_ELBO
from torch import Tensor, nn

from tests.benchmarks.minibatches import minibatches, wait
from tests.benchmarks.problems import CENTRE, DIM, LATENT, RATE, STIFFNESS, Problem, weights


def steps(problem: Problem, batch: int, device: str, validate: bool = True) -> Callable[[int], None]:
    """Function that takes so many training steps; Pyro validates by default."""
    pyro.enable_validation(validate)
    pyro.clear_param_store()
    programs = make(problem).to(device)

    def model(*tensors: Tensor) -> None:
        pyro.module("programs", programs)
        programs.model(*tensors)

    svi = SVI(model, programs.guide, pyro.optim.Adam({"lr": RATE}), Trace_ELBO())  # type: ignore[attr-defined]
    feed = minibatches(problem, batch, device)

    def run(count: int) -> None:
        for _ in range(count):
            svi.step(*(next(feed) or (torch.empty(batch, 0, device=device),)))
        wait(device)

    return run


def make(problem: Problem) -> "Programs":
    """Model and guide of a problem with its first weights."""
    programs = {"A": Autoencoder, "B": ReverseDivergence, "C": ForceMatching}[problem.name](problem)
    programs.load_state_dict({k: torch.from_numpy(v) for k, v in weights(problem).items()}, strict=False)
    return programs


class Programs(nn.Module):
    """Networks of a problem, each an attribute of its name."""

    encoder: nn.Module
    decoder: nn.Module
    mean: nn.Module
    log_sd: nn.Module
    reverse: nn.Module
    energy: nn.Module

    def __init__(self, problem: Problem):
        super().__init__()
        for name, (a, b, c, d) in problem.nets.items():
            net = nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c), nn.Tanh(), nn.Linear(c, d))
            self.add_module(name, net)

    def model(self, *tensors: Tensor) -> None:
        raise NotImplementedError

    def guide(self, *tensors: Tensor) -> None:
        """Nothing is latent."""

    def gaussian(self, net: str, x: Tensor) -> dist.TorchDistribution:
        mean, log_sd = self.get_submodule(net)(x).chunk(2, -1)
        return dist.Normal(mean, log_sd.exp()).to_event(1)


class Autoencoder(Programs):
    """A."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.log_noise = nn.Parameter(torch.zeros(DIM))

    def model(self, x: Tensor) -> None:
        with pyro.plate("frames", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.decoder(z), self.log_noise.exp()).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("frames", len(x)):
            pyro.sample("z", self.gaussian("encoder", x))


class ReverseDivergence(Programs):
    """B: the guide generates, the model is the energy with the reverse map; `like` has the length of the batch."""

    stiffness: Tensor
    centre: Tensor

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.register_buffer("stiffness", torch.from_numpy(STIFFNESS))
        self.register_buffer("centre", torch.from_numpy(CENTRE))

    def model(self, like: Tensor) -> None:
        with pyro.plate("frames", len(like)):
            x = pyro.sample("x", dist.ImproperUniform(constraints.real, (), (DIM,)))
            pyro.factor("energy", -0.5 * (self.stiffness * (x - self.centre).square()).sum(-1))
            pyro.sample("z", self.gaussian("reverse", x))

    def guide(self, like: Tensor) -> None:
        with pyro.plate("frames", len(like)):
            z = pyro.sample("z", dist.Normal(like.new_zeros(LATENT), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(self.mean(z), self.log_sd(z).exp()).to_event(1))


class ForceMatching(Programs):
    """C."""

    def model(self, x: Tensor, forces: Tensor) -> None:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.energy(x).sum(), x, create_graph=True)
        with pyro.plate("frames", len(x)):
            pyro.sample("forces", dist.Normal(-slope, 1.0).to_event(1), obs=forces)
