"""The evidence lower bound of a (model, guide) pair as a plain tensor function, and estimates of the evidence."""

import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor, nn

from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model, point_guide
from bayescg.modelling.schedules.schedule import Schedule
from bayescg.modelling.traces import is_local, run_pair, sites
from bayescg.recording.functional import Params, attribute, call_with, functional_random, over

__all__ = ["OBJECTIVES", "Program", "frame_log_weight", "held_out_loss", "log_marginal", "log_weights"]

OBJECTIVES = ("elbo", "iwae")


class Program(nn.Module):
    """Model, guide and the guide of the random parameters, evaluated together.

    The forward pass returns minus a bound on the log evidence, scaled from the batch to all frames and divided by
    their total weight: nats per frame. The bound is the ELBO, or with `particles` its importance-weighted version.

    Parameters
    ----------
    model : Model
    names : list of str
        The model's random parameters.
    mean_field : bool
        Propose independent Gaussians for them (with `log_sd`, initially `initial_sd`); otherwise their own values.
    particles : int or None
        Draws of the latent variables a frame.
    initial_sd : float
        Of the random parameters.
    schedule : Schedule, optional
        Says what is added to the loss.
    """

    def __init__(
        self,
        model: Model,
        names: list[str],
        mean_field: bool = False,
        particles: int | None = None,
        initial_sd: float = 0.01,
        schedule: Schedule | None = None,
    ):
        super().__init__()
        self.inner, self.particles, self.schedule = model, particles, schedule or Schedule()
        self.names = list(names)
        self.log_sd = nn.ParameterList(
            [torch.full_like(model.get_parameter(n), math.log(initial_sd)) for n in names] if mean_field else []
        )

    def weights_guide(self) -> None:
        """Propose the random parameters."""
        if not len(self.log_sd):
            point_guide(self.inner, self.names)
        for name, log_sd in zip(self.names, self.log_sd, strict=False):
            mean = attribute(self.inner, name)
            pyro.sample(name, dist.Normal(mean, log_sd.exp()).to_event(mean.dim()))

    def guide(self, batch: Batch) -> None:
        """Propose the random parameters, then what the model's own guide proposes."""
        self.weights_guide()
        self.inner.guide(batch)

    def forward(self, tensors: Params, total: int, total_weight: float) -> Tensor:
        """Minus the bound per frame, a scalar, for the fields of a `Batch` out of `total` frames."""
        batch = Batch(**tensors, total=total, stage=self.schedule.stage)
        if self.particles is not None:
            return self._importance_weighted(batch) / total_weight
        *_, guide_trace, model_trace = run_pair(self.inner.model, self.guide, batch)
        more = self.schedule.term(self.guide, batch, guide_trace, model_trace)
        loss = torch.as_tensor(guide_trace.log_prob_sum() - model_trace.log_prob_sum()) / total_weight
        return loss if more is None else loss + more

    def _importance_weighted(self, batch: Batch) -> Tensor:
        # log p(theta) - log q(theta) + N/B sum_n log 1/K sum_k p(x_n, z_nk | theta) / q(z_nk | x_n), and what is drawn
        # beside the frames, which bounds no density of theirs
        weights = poutine.trace(self.weights_guide).get_trace()
        draws = torch.zeros(self.particles or 1)
        local, beside, rest = over(lambda _: _split_log_prob(self.inner, weights, batch))(draws)
        frames = torch.logsumexp(local, 0) - math.log(len(draws)) + beside.mean(0)
        if batch.weight is not None:
            frames = frames * batch.weight
        weights.compute_log_prob()
        proposed = sum(site["log_prob"].sum() for site in sites(weights).values())
        return proposed - rest.mean(0) - frames.sum() * (batch.total / len(batch))


def frame_log_weight(model: Model, names: list[str], batch: Batch) -> Tensor:
    """Log p(x, z) - log q(z) of each frame for one draw of its latent variables, ``(B,)``, without any weight."""
    return _split_log_prob(model, poutine.trace(lambda: point_guide(model, names)).get_trace(), batch)[0]


def _split_log_prob(model: Model, weights: poutine.Trace, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """One draw: log p - log q of each frame, of what is drawn beside them, both ``(B,)``, and of what is global.

    Each site counts as the programs scale it, the plate and its weights apart; the last is without the proposal of the
    random parameters.
    """

    def of_program(scale: Any) -> Any:
        scale = scale * (len(batch) / batch.total)
        return scale if batch.weight is None else torch.where(batch.weight > 0, scale / batch.weight, 0.0)

    def propose(batch: Batch) -> None:
        for name, site in sites(weights).items():
            pyro.sample(name, dist.Delta(site["value"]).to_event(site["value"].dim()))
        model.guide(batch)

    guided, modelled, *traces = run_pair(model.model, propose, batch)
    for trace in traces:
        trace.compute_log_prob()
    local, beside, rest = torch.zeros(()), torch.zeros(()), torch.zeros(())
    for sign, group in ((1.0, modelled), (-1.0, guided)):
        for name, site in group.items():
            if not is_local(site):
                if sign > 0 or name not in weights.nodes:
                    rest = rest + sign * site["log_prob"].sum()
                continue
            frames = sign * site["unscaled_log_prob"] * of_program(site["scale"])
            if site["infer"].get("is_auxiliary") and not site["is_observed"]:  # as no pyro.factor is
                beside = beside + frames
            else:
                local = local + frames
    return local, beside, rest


def log_marginal(model: Model, names: list[str], params: Params, tensors: Params, particles: int = 64) -> Tensor:
    """Importance-weighted estimate of log p(x) of each frame under given parameters (IWAE bound), ``(B,)``.

    Parameters
    ----------
    model : Model
    names : list of str
        The model's random parameters.
    params : dict of str to Tensor
        Values of all parameters and buffers.
    tensors : dict of str to Tensor
        Fields of a `Batch`: inputs of the frames, ``(B, ...)``, or of both ends of pairs.
    particles : int
        Draws of the latent variables a frame; the bound rises to log p(x) with them.

    References
    ----------
    Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016, eq. (8).
    """
    return torch.logsumexp(log_weights(model, names, params, tensors, particles), 0) - math.log(particles)


def log_weights(model: Model, names: list[str], params: Params, tensors: Params, particles: int) -> Tensor:
    """Log p(x, z) - log q(z) for several draws of z, ``(particles, B)``; arguments as in `log_marginal`.

    Where the guide draws none they are computed once.
    """

    def once(_: Tensor) -> Tensor:
        return call_with(model, params, _frame_log_weight_of, names, tensors)

    draws = torch.zeros(particles, device=tensors["x"].device)
    with functional_random(), pyro.validation_enabled(False):
        if not sites(poutine.trace(model.guide).get_trace(Batch(**tensors, total=len(tensors["x"])))):
            return once(draws[0]).expand(particles, -1)
        return over(once)(draws)


def held_out_loss(program: Program, params: Params, tensors: Params, weight: Tensor, members: bool) -> Tensor:
    """Minus the program's bound on log p(x) per frame, at the proposed means of the random parameters, no prior.

    Parameters
    ----------
    program : Program
    params : dict of str to Tensor
        The program's parameters, with a leading axis when there are members.
    tensors : dict of str to Tensor
        Fields of a `Batch`: inputs of the held-out frames, ``(B, ...)``, or of both ends of pairs.
    weight : Tensor
        What each frame counts, ``(B,)``.
    members : bool

    Returns
    -------
    Tensor
        ``(members,)`` or a scalar.
    """

    def once(p: Params) -> Tensor:
        return call_with(program, p, lambda m: _frame_log_weight_of(m.inner, m.names, tensors))

    def of_member(p: Params) -> Tensor:
        # of one draw vmap would only make every operation slower
        draws = over(lambda _: once(p))(torch.zeros(program.particles)) if program.particles else once(p).unsqueeze(0)
        frames = torch.logsumexp(draws, 0) - math.log(len(draws))
        return -(weight * frames).sum() / weight.sum()

    with functional_random():
        return over(of_member, ({k: 0 for k in params},), same_draws=True)(params) if members else of_member(params)


def _frame_log_weight_of(model: Model, names: list[str], tensors: Params) -> Tensor:
    return frame_log_weight(model, names, Batch(**tensors, total=len(tensors["x"])))
