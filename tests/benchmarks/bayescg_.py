"""The problems as models of bayescg, trained by `bayescg.fit` itself: what is timed is its own loop."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor, nn

import bayescg as bcg
from bayescg import nets
from bayescg.data import Frames
from bayescg.inference.job import Job
from tests.benchmarks.minibatches import wait
from tests.benchmarks.problems import CENTRE, DIM, LATENT, STIFFNESS, WIDTH, Problem, data, weights


def steps(problem: Problem, batch: int, device: str, compile: str) -> Callable[[int], None]:
    """Function that lets a fit in another thread take so many of its steps: feed, gradients, guard, clipping, Adam.

    The fit has the default number of steps, so that it warms up, decays and evaluates as often as users' fits do.
    """
    left, asked, answered = 0, SimpleQueue[int](), SimpleQueue[Exception | None]()
    advance = Job.advance

    def gated(job: Job, *args: Any) -> None:
        nonlocal left
        if job.mode != compile:
            raise RuntimeError(f"compile={compile!r} fell back to {job.mode!r}")
        if not left:
            answered.put(None)  # what was asked is done; the first time, the fit is set up
            left = asked.get()
        left -= 1
        advance(job, *args)

    def train() -> None:
        try:
            fit(problem, batch, device=device, compile=compile, steps=20_000)
            answered.put(RuntimeError("the fit is over: fewer rounds or shorter blocks, please"))
        except Exception as error:
            answered.put(error)

    def settled() -> None:
        if (error := answered.get()) is not None:
            raise error
        wait(device)

    def run(count: int) -> None:
        asked.put(count)
        settled()

    Job.advance = gated  # type: ignore[method-assign]
    threading.Thread(target=train, daemon=True).start()
    settled()
    return run


def fit(problem: Problem, batch: int, **more: Any) -> bcg.Fit:
    """One fit of a problem, all frames trained on."""
    named = dict(zip(("x", "forces"), data(problem, batch), strict=False))
    frames = Frames.from_numpy(**named, unit="reduced", temperature_kT=1.0) if named else None
    return bcg.fit(make(problem), frames, batch_size=batch, validation=0.0, uncertainty="none", **more)


def make(problem: Problem) -> "Programs":
    """Model of a problem; a fit of it begins at the first weights."""
    return {"A": Autoencoder, "B": ReverseDivergence, "C": ForceMatching}[problem.name](problem)


class Programs(bcg.Model):
    """Networks of a problem, each an attribute of its name."""

    encoder: nn.Module
    decoder: nn.Module
    mean: nn.Module
    log_sd: nn.Module
    reverse: nn.Module
    energy: nn.Module

    def __init__(self, problem: Problem):
        super().__init__()
        self.problem = problem
        for name, sizes in problem.nets.items():
            self.add_module(name, nets.MLP(sizes[0], sizes[-1], (WIDTH, WIDTH)))

    def reset(self) -> None:
        self.load_state_dict({k: torch.from_numpy(v) for k, v in weights(self.problem).items()}, strict=False)

    def config(self) -> dict[str, Any]:
        return {"problem": self.problem.name}

    @classmethod
    def example(cls) -> tuple[bcg.Model, Any, Any]:
        raise NotImplementedError

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is latent."""

    def gaussian(self, net: str, x: Tensor | None) -> dist.TorchDistribution:
        mean, log_sd = self.get_submodule(net)(x).chunk(2, -1)
        return dist.Normal(mean, log_sd.exp()).to_event(1)

    def standard(self) -> dist.TorchDistribution:
        return dist.Normal(next(self.parameters()).new_zeros(LATENT), 1.0).to_event(1)


class Autoencoder(Programs):
    """A."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.log_noise = nn.Parameter(torch.zeros(DIM))

    def model(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            z = pyro.sample("z", self.standard())
            pyro.sample("x", dist.Normal(self.decoder(z), self.log_noise.exp()).to_event(1), obs=batch.x)

    def guide(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            pyro.sample("z", self.gaussian("encoder", batch.x))


class ReverseDivergence(Programs):
    """B: the guide generates, the model is the energy with the reverse map."""

    needs_frames = False
    stiffness: Tensor
    centre: Tensor

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.register_buffer("stiffness", torch.from_numpy(STIFFNESS))
        self.register_buffer("centre", torch.from_numpy(CENTRE))

    def model(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            x = pyro.sample("x", dist.ImproperUniform(constraints.real, (), (DIM,)))
            pyro.factor("energy", -0.5 * (self.stiffness * (x - self.centre).square()).sum(-1))
            pyro.sample("z", self.gaussian("reverse", x))

    def guide(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            z = pyro.sample("z", self.standard())
            pyro.sample("x", dist.Normal(self.mean(z), self.log_sd(z).exp()).to_event(1))


class ForceMatching(Programs):
    """C."""

    def model(self, batch: bcg.Batch) -> None:
        slope = torch.func.grad(lambda y: self.energy(y).sum())(batch.x)
        with batch.plate("frames"):
            pyro.sample("forces", dist.Normal(-slope, 1.0).to_event(1), obs=batch.forces)
