"""The three problems that every peer solves, as plain arrays: the same data, the same first weights.

All networks have tanh between their layers; n is a frame of a batch of B.

A. Variational autoencoder with learned noise. mean, log_sd = encoder(x_n); z_n = mean + exp(log_sd) * eps_n;
   loss = 1/B sum_n [log q(z_n | x_n) - log N(z_n; 0, I) - log N(x_n; decoder(z_n), diag exp(2 log_noise))].
B. Reverse Kullback-Leibler divergence, without data. z_n ~ N(0, I); x_n = mean(z_n) + exp(log_sd(z_n)) * eps_n;
   loss = 1/B sum_n [log N(z_n; 0, I) + log q(x_n | z_n) - log r(z_n | x_n) + u(x_n)] with
   u(x) = 1/2 sum_i k_i (x_i - c_i)^2 and r a Gaussian whose mean and log_sd are the network `reverse`.
C. Force matching: loss = 1/B sum_n -log N(f_n; -d energy(x_n)/dx_n, I).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

DIM, LATENT, WIDTH = 60, 2, 100
RATE = 1e-3
STIFFNESS = np.linspace(0.5, 2.0, DIM).astype(np.float32)
CENTRE = np.linspace(-1.0, 1.0, DIM).astype(np.float32)


@dataclass(frozen=True)
class Problem:
    name: str
    title: str
    nets: dict[str, tuple[int, ...]]
    batches: tuple[int, ...]
    large: tuple[int, ...]  # batches for a GPU


def _layers(inputs: int, outputs: int) -> tuple[int, ...]:
    return inputs, WIDTH, WIDTH, outputs


PROBLEMS = {
    p.name: p
    for p in (
        Problem(
            "A",
            "VAE 60-100-100-2, learned noise",
            {"encoder": _layers(DIM, 2 * LATENT), "decoder": _layers(LATENT, DIM)},
            (64, 1024, 8192),
            (64, 1024, 8192, 65_536, 1_000_000),
        ),
        Problem(
            "B",
            "reverse KL, 2 -> 60 dimensions",
            {"mean": _layers(LATENT, DIM), "log_sd": _layers(LATENT, DIM), "reverse": _layers(DIM, 2 * LATENT)},
            (1024,),
            (1024, 65_536, 1_000_000),
        ),
        Problem(
            "C",
            "force matching 60-100-100-1",
            {"energy": _layers(DIM, 1)},
            (512,),
            (512, 65_536, 1_000_000),
        ),
    )
}


def weights(problem: Problem, seed: int = 0) -> dict[str, np.ndarray]:
    """First weights by name, ``net.layer.weight`` of shape (outputs, inputs) as in a ``torch.nn.Sequential``."""
    rng = np.random.default_rng(seed)
    found = {}
    for net, sizes in problem.nets.items():
        for layer, (a, b) in enumerate(pairwise(sizes)):
            found[f"{net}.{2 * layer}.weight"] = rng.uniform(-1, 1, (b, a)) / np.sqrt(a)
            found[f"{net}.{2 * layer}.bias"] = rng.uniform(-1, 1, b) / np.sqrt(a)
    if problem.name == "A":
        found["log_noise"] = np.full(DIM, -0.5)
    return {k: v.astype(np.float32) for k, v in found.items()}


def data(problem: Problem, batch: int) -> tuple[np.ndarray, ...]:
    """The resident data set, of which every peer gathers minibatches by index: x of A, x and forces of C, none of B."""
    return _data(problem.name, max(65_536, 2 * batch))


@lru_cache(maxsize=1)
def _data(name: str, n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(1)
    if name == "A":
        z, maps = rng.normal(size=(n, LATENT)), rng.normal(size=(LATENT, DIM))
        return ((np.tanh(z @ maps) + 0.3 * rng.normal(size=(n, DIM))).astype(np.float32),)
    if name == "C":
        x = rng.normal(size=(n, DIM)).astype(np.float32)
        return x, (STIFFNESS * (CENTRE - x) + 0.3 * rng.normal(size=x.shape)).astype(np.float32)
    return ()
