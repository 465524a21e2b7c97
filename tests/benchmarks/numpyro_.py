"""The problems in NumPyro: `SVI.update` under jax.jit, float32, the minibatch gathered inside.

With ``loop`` the steps themselves run inside XLA (lax.fori_loop) and the state is donated: NumPyro at its best.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.benchmarks.problems import CENTRE, DIM, LATENT, RATE, STIFFNESS, Problem, data, weights

jax = pytest.importorskip("jax")
numpyro = pytest.importorskip("numpyro")
dist, jnp, lax = numpyro.distributions, jax.numpy, jax.lax

Params = dict[str, Any]


def steps(problem: Problem, batch: int, device: str, loop: bool = False) -> Callable[[int], None]:
    """Function that takes so many training steps."""
    jax.config.update("jax_default_device", jax.devices("gpu" if device == "cuda" else "cpu")[0])
    first = {k: jnp.asarray(v) for k, v in weights(problem).items()}
    model, guide = programs(problem, first, batch)
    svi = numpyro.infer.SVI(model, guide, numpyro.optim.Adam(RATE), numpyro.infer.Trace_ELBO())
    resident = tuple(jnp.asarray(a) for a in data(problem, batch))
    state = svi.init(jax.random.key(0), *(a[:batch] for a in resident))
    length = len(resident[0]) if resident else batch

    def update(state: Any, resident: Any, order: Any, start: Any) -> Any:
        index = lax.dynamic_slice(order, (start,), (batch,))
        return svi.update(state, *(a[index] for a in resident))[0]

    def updates(state: Any, resident: Any, order: Any, start: Any, count: Any) -> Any:
        return lax.fori_loop(0, count, lambda i, s: update(s, resident, order, start + i * batch), state)

    one, many = jax.jit(update), jax.jit(updates, donate_argnums=0)
    rng = np.random.default_rng(0)
    order, position = jnp.zeros(length, jnp.int32), length if resident else 0

    def run(count: int) -> None:
        nonlocal state, order, position
        while count:
            if position + batch > length:  # the next epoch
                order, position = jnp.asarray(rng.permutation(length).astype(np.int32)), 0
            if not loop:
                state, done = one(state, resident, order, position), 1
            else:
                done = min(count, (length - position) // batch) if resident else count
                state = many(state, resident, order, position, done)
            position += done * batch if resident else 0
            count -= done
        jax.block_until_ready(state)

    return run


def programs(problem: Problem, first: Params, batch: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """Model and guide of a problem, its parameters beginning at the given weights."""

    def net(name: str, x: Any) -> Any:
        w = {k: numpyro.param(k, first[k]) for k in first if k.startswith(f"{name}.")}
        return mlp(w, name, x)

    def gaussian(name: str, x: Any) -> Any:
        mean, log_sd = jnp.split(net(name, x), 2, -1)
        return dist.Normal(mean, jnp.exp(log_sd)).to_event(1)

    def standard() -> Any:
        return dist.Normal(jnp.zeros(LATENT), 1.0).to_event(1)

    def autoencoder(x: Any) -> None:
        noise = jnp.exp(numpyro.param("log_noise", first["log_noise"]))
        with numpyro.plate("frames", batch):
            z = numpyro.sample("z", standard())
            numpyro.sample("x", dist.Normal(net("decoder", z), noise).to_event(1), obs=x)

    def encode(x: Any) -> None:
        with numpyro.plate("frames", batch):
            numpyro.sample("z", gaussian("encoder", x))

    def energy() -> None:
        with numpyro.plate("frames", batch):
            x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), (DIM,)))
            numpyro.factor("energy", -0.5 * (STIFFNESS * (x - CENTRE) ** 2).sum(-1))
            numpyro.sample("z", gaussian("reverse", x))

    def generate() -> None:
        with numpyro.plate("frames", batch):
            z = numpyro.sample("z", standard())
            numpyro.sample("x", dist.Normal(net("mean", z), jnp.exp(net("log_sd", z))).to_event(1))

    def force_matching(x: Any, forces: Any) -> None:
        w = {k: numpyro.param(k, v) for k, v in first.items()}
        slope = jax.grad(lambda y: mlp(w, "energy", y).sum())(x)
        with numpyro.plate("frames", batch):
            numpyro.sample("forces", dist.Normal(-slope, 1.0).to_event(1), obs=forces)

    nothing: Callable[..., None] = lambda *_: None  # noqa: E731
    return {"A": (autoencoder, encode), "B": (energy, generate), "C": (force_matching, nothing)}[problem.name]


def mlp(w: Params, net: str, x: Any) -> Any:
    """Network of three layers."""
    x = jnp.tanh(x @ w[f"{net}.0.weight"].T + w[f"{net}.0.bias"])
    x = jnp.tanh(x @ w[f"{net}.2.weight"].T + w[f"{net}.2.bias"])
    return x @ w[f"{net}.4.weight"].T + w[f"{net}.4.bias"]
