"""The problems written by hand in PyTorch: no modules, no distributions, Adam fused.

Compiled, the loss goes through torch.compile; noise is drawn outside, because inductor's own random numbers on a CPU
cost more than ten times torch's.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.benchmarks.minibatches import minibatches, wait
from tests.benchmarks.problems import CENTRE, DIM, LATENT, RATE, STIFFNESS, Problem, weights

Params = dict[str, Tensor]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def steps(problem: Problem, batch: int, device: str, compiled: bool = False) -> Callable[[int], None]:
    """Function that takes so many training steps."""
    params = {k: torch.from_numpy(v).to(device).requires_grad_() for k, v in weights(problem).items()}
    optimiser = torch.optim.Adam(params.values(), lr=RATE, fused=True)
    loss = LOSSES[problem.name]
    loss = torch.compile(loss, fullgraph=True, dynamic=False) if compiled else loss
    energy = torch.from_numpy(STIFFNESS).to(device), torch.from_numpy(CENTRE).to(device)
    feed = minibatches(problem, batch, device)

    def run(count: int) -> None:
        for _ in range(count):
            tensors = next(feed)
            if problem.name == "A":
                tensors += (torch.randn(batch, LATENT, device=device),)
            elif problem.name == "B":
                tensors = (torch.randn(batch, LATENT, device=device), torch.randn(batch, DIM, device=device), *energy)
            optimiser.zero_grad()
            loss(params, *tensors).backward()
            optimiser.step()
        wait(device)

    return run


def autoencoder(p: Params, x: Tensor, eps: Tensor) -> Tensor:
    """Loss A with z = mean + exp(log_sd) * eps."""
    mean, log_sd = mlp(p, "encoder", x).chunk(2, -1)
    z = mean + log_sd.exp() * eps
    residual = (x - mlp(p, "decoder", z)) * (-p["log_noise"]).exp()
    squares = residual.square().sum() + z.square().sum() - eps.square().sum()
    return (0.5 * squares - log_sd.sum()) / len(x) + p["log_noise"].sum() + DIM * _HALF_LOG_2PI


def reverse_divergence(p: Params, z: Tensor, eps: Tensor, stiffness: Tensor, centre: Tensor) -> Tensor:
    """Loss B with x = mean(z) + exp(log_sd(z)) * eps."""
    log_sd = mlp(p, "log_sd", z)
    x = mlp(p, "mean", z) + log_sd.exp() * eps
    mean, log_r = mlp(p, "reverse", x).chunk(2, -1)
    squares = (
        ((z - mean) * (-log_r).exp()).square().sum()
        + (stiffness * (x - centre).square()).sum()
        - z.square().sum()
        - eps.square().sum()
    )
    return (0.5 * squares + log_r.sum() - log_sd.sum()) / len(z) - DIM * _HALF_LOG_2PI


def force_matching(p: Params, x: Tensor, forces: Tensor) -> Tensor:
    """Loss C; by torch.autograd.grad, which is the faster, or by torch.func.grad, which is what compiles."""
    if torch.compiler.is_compiling():
        slope = torch.func.grad(lambda y: mlp(p, "energy", y).sum())(x)
    else:
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(mlp(p, "energy", x).sum(), x, create_graph=True)
    return 0.5 * (slope + forces).square().sum() / len(x) + DIM * _HALF_LOG_2PI


def mlp(p: Params, net: str, x: Tensor) -> Tensor:
    """Network of three layers."""
    x = torch.tanh(F.linear(x, p[f"{net}.0.weight"], p[f"{net}.0.bias"]))
    x = torch.tanh(F.linear(x, p[f"{net}.2.weight"], p[f"{net}.2.bias"]))
    return F.linear(x, p[f"{net}.4.weight"], p[f"{net}.4.bias"])


LOSSES: dict[str, Callable[..., Tensor]] = {"A": autoencoder, "B": reverse_divergence, "C": force_matching}
