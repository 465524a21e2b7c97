"""The evidence lower bound of a (model, guide) pair as a plain tensor function, and estimates of the evidence."""

import math

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.func import vmap

from bayescg.inference.batch import Batch
from bayescg.inference.functional import Params, attribute, call_with, functional_random
from bayescg.inference.model import Model, point_guide

__all__ = ["Program", "frame_log_weight", "held_out_loss", "log_marginal", "log_weights"]


class Program(nn.Module):
    """Model, guide and the guide of the random parameters, evaluated together.

    The forward pass returns minus the ELBO of a batch, scaled to all frames and divided by their total weight: nats
    per frame.

    Parameters
    ----------
    model : Model
    names : list of str
        The model's random parameters.
    mean_field : bool
        Propose independent Gaussians for them (with `log_sd`, initially `initial_sd`); otherwise their own values.
    """

    def __init__(self, model: Model, names: list[str], mean_field: bool = False, initial_sd: float = 0.01):
        super().__init__()
        self.inner = model
        self.names = list(names)
        self.log_sd = nn.ParameterList(
            [torch.full_like(model.get_parameter(n), math.log(initial_sd)) for n in names] if mean_field else []
        )

    def guide(self, batch: Batch) -> None:
        """Propose the random parameters, then what the model's own guide proposes."""
        if not len(self.log_sd):
            point_guide(self.inner, self.names)
        for name, log_sd in zip(self.names, self.log_sd, strict=False):
            mean = attribute(self.inner, name)
            pyro.sample(name, pyro.distributions.Normal(mean, log_sd.exp()).to_event(mean.dim()))
        self.inner.guide(batch)

    def forward(self, batch: Batch, total_weight: float) -> Tensor:
        """Minus ELBO per frame, a scalar."""
        proposed = poutine.trace(self.guide).get_trace(batch)
        trace = poutine.trace(poutine.replay(self.inner.model, proposed)).get_trace(batch)
        return (proposed.log_prob_sum() - trace.log_prob_sum()) / total_weight


def frame_log_weight(model: Model, names: list[str], batch: Batch) -> Tensor:
    """Log p(x, z) - log q(z) of each frame for one draw of its latent variables, ``(B,)``, without any weight."""
    proposed = poutine.trace(lambda b: (point_guide(model, names), model.guide(b))).get_trace(batch)
    trace = poutine.trace(poutine.replay(model.model, proposed)).get_trace(batch)
    trace.compute_log_prob()
    proposed.compute_log_prob()
    total: Tensor | float = 0.0
    for sign, t in ((1.0, trace), (-1.0, proposed)):
        for site in t.nodes.values():
            if site["type"] == "sample" and any(f.vectorized for f in site["cond_indep_stack"]):
                total = total + sign * site["unscaled_log_prob"]
    return torch.as_tensor(total)


def log_marginal(model: Model, names: list[str], params: Params, x: Tensor, particles: int = 64) -> Tensor:
    """Importance-weighted estimate of log p(x) of each frame under given parameters (IWAE bound), ``(B,)``.

    Parameters
    ----------
    model : Model
    names : list of str
        The model's random parameters.
    params : dict of str to Tensor
        Values of all parameters and buffers.
    x : Tensor
        Inputs of the frames, ``(B, ...)``.
    particles : int
        Draws of the latent variables a frame; the bound rises to log p(x) with them.

    References
    ----------
    Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, eq. (8).
    """
    return torch.logsumexp(log_weights(model, names, params, x, particles), 0) - math.log(particles)


def log_weights(model: Model, names: list[str], params: Params, x: Tensor, particles: int) -> Tensor:
    """Log p(x, z) - log q(z) for several draws of z, ``(particles, B)``; arguments as in `log_marginal`."""

    def once(_: Tensor) -> Tensor:
        return call_with(model, params, _frame_log_weight_of, names, x)

    with functional_random(), pyro.validation_enabled(False):
        return vmap(once, randomness="different")(torch.zeros(particles, device=x.device))


def held_out_loss(program: Program, params: Params, x: Tensor, members: bool) -> Tensor:
    """Minus the bound on log p(x) per frame at the proposed means of the random parameters, without their prior.

    Parameters
    ----------
    program : Program
    params : dict of str to Tensor
        The program's parameters, with a leading axis when there are members.
    x : Tensor
        Inputs of the held-out frames, ``(B, ...)``.
    members : bool

    Returns
    -------
    Tensor
        ``(members,)`` or a scalar.
    """

    def one(p: Params) -> Tensor:
        return -call_with(program, p, lambda m: _frame_log_weight_of(m.inner, m.names, x)).mean()

    with functional_random():
        return vmap(one, randomness="same")(params) if members else one(params)


def _frame_log_weight_of(model: Model, names: list[str], x: Tensor) -> Tensor:
    return frame_log_weight(model, names, Batch(x=x, total=len(x)))
