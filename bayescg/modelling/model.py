"""The base class of every model, and the check that its two programs belong together."""

from __future__ import annotations

import copy
import inspect
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from bayescg.data import Pairs, Stretches
from bayescg.errors import DataError, ModelError
from bayescg.modelling.batch import Batch
from bayescg.modelling.model_arguments import argument_names, arguments_from_json, as_json
from bayescg.modelling.schedules.schedule import Schedule
from bayescg.modelling.traces import is_local, run_pair
from bayescg.recording.functional import Params, attribute, buffers_kept
from bayescg.recording.tensors_only import TensorsOnly

__all__ = [
    "HasBasis",
    "HasCV",
    "HasFeatures",
    "HasNetwork",
    "Model",
    "check_data",
    "check_programs",
    "cv_of",
    "finished",
    "point_guide",
    "random_parameters",
    "solves",
    "unflattened",
]

KINDS = ("evidence", "generalised", "resampled")


class Model(nn.Module, ABC):
    """A generative model and its guide: two Pyro programs over a batch of frames. Holds no training code.

    A subclass writes `model`, `guide` and `example`, and keeps every argument of its ``__init__`` as an attribute of
    the same name, of which `config` makes the file of a fit. Global random variables are sampled in `model` before
    the plate, each at a site named after the parameter that it makes random (:func:`bayescg.nets.random_net`);
    `bayescg.fit` supplies their guide, as its argument ``uncertainty`` says. `guide` samples what is local to a frame.
    What it draws beside the frames, to learn from energies say, is no part of their density: such a site says so,
    ``infer={"is_auxiliary": True}``.

    A program may update buffers of its modules, in place (``self.mean.mul_(0.9).add_(0.1 * batch.x.mean(0))``) or by
    assignment (``self.mean = ...``): each step of training does so once, each refit has its own, and they are saved.
    What is done to them outside training, to look at held-out frames say, is undone. Any other value that is to
    change must be such a buffer. Derivatives within a program (forces, gradients of eigenfunctions) are
    `torch.func.grad`'s.

    Attributes
    ----------
    kind : {"evidence", "generalised", "resampled"}
        What the objective is: a bound on the log evidence, a loss with a prior, or refits under random weights.
    additive : bool
        Whether the objective is a sum over frames. One that couples the frames of a batch sets False: it is then not
        rescaled, and `minimum_batch` holds.
    needs_pairs : bool
        Whether it learns from pairs of frames a lag time apart (:meth:`bayescg.data.Frames.lagged`): ``batch.x`` is
        then what the programs read of the first frame of each pair and ``batch.y`` of the second, and `setup` is given
        the `Pairs`. Such a model has an attribute `lag`, None until `setup` has told it.
    needs_frames : bool
        Whether it learns from frames. One that queries a system sets False: its guide draws all that its batches
        hold (``batch.x`` is None), and the loss is an average over the draws.
    optional_frames : bool
        Whether a model that queries a system may be given frames all the same: ``batch.x`` then holds them.
    pair_density : {"features", "equilibrium", "variable"} or None
        Of pairs: what the log density of the later frame is over, given the first one: whitened features, relative to
        the equilibrium, or one variable in its own unit. None: it has none.
    undoes_bias : bool
        Whether it learns from pairs of a biased simulation: ``batch.window`` then says under which bias each was.
    conditional : bool
        Whether its likelihood is that of labels given the frames (forces, energies), of which it generates none.
    objective : str
        The default of ``bayescg.fit(objective=)``.
    uncertainty : str
        The default of ``bayescg.fit(uncertainty=)``.
    training_defaults : dict
        Of ``steps``, ``batch_size``, ``validation`` and ``learning_rate`` of ``bayescg.fit``, where they differ.
    fixed_cvs : int
        How many of its leading CVs mean something by themselves, as the logit of a committor does: those of refits are
        not turned onto the trained ones'.
    slack : float
        How much the held-out loss may be above its lowest for a later state to be taken: its noise.
    citation : str
        What to cite.
    """

    kind: ClassVar[str] = "evidence"
    additive: ClassVar[bool] = True
    minimum_batch: ClassVar[int] = 1
    needs_pairs: ClassVar[bool] = False
    needs_frames: ClassVar[bool] = True
    optional_frames: ClassVar[bool] = False
    pair_density: ClassVar[str | None] = None
    undoes_bias: ClassVar[bool] = False
    conditional: ClassVar[bool] = False
    objective: ClassVar[str] = "elbo"
    uncertainty: ClassVar[str] = "none"
    training_defaults: ClassVar[dict[str, Any]] = {}
    fixed_cvs: int = 0
    slack: ClassVar[float] = 0.0
    citation: ClassVar[str] = ""

    @abstractmethod
    def model(self, batch: Batch) -> Any:
        """Generative program; the observed frames are the site ``"x"``."""

    @abstractmethod
    def guide(self, batch: Batch) -> Any:
        """Variational program over the latent variables of the frames."""

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model through `from_config`: its arguments."""
        return self.arguments()

    def arguments(self, *without: str) -> dict[str, Any]:
        """Arguments of the class as JSON, all but some: each is the attribute of its name.

        Raises
        ------
        ModelError
            There is no such attribute.
        """
        names = [name for name in argument_names(type(self)) if name not in without]
        if missing := [name for name in names if inspect.ismethod(getattr(self, name, self.config))]:
            raise ModelError(
                f"{type(self).__name__} takes {missing[0]!r} but does not keep it: write self.{missing[0]} = "
                f"{missing[0]} in __init__, or `config` and `from_config`"
            )
        return {name: as_json(name, getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration and fresh weights."""
        return cls(**arguments_from_json(config))

    def completed(self, config: dict[str, Any]) -> Model:
        """What ``Fit.load`` makes of the model that it is given: one with what only training tells, as the fit has it.

        The model itself, unless what training tells is more than the values of parameters and buffers.
        """
        return self

    def remade(self, config: dict[str, Any], **unkept: Any) -> Self:
        """Model with the given configuration and fresh weights, and with arguments that no file keeps."""
        kept_by_files = {name: value for name, value in config.items() if name not in unkept}
        return type(self)(**arguments_from_json(kept_by_files), **unkept)

    def rows(self, frames: Any) -> Any:
        """What a batch is made of, of frames: these, one by one. A model of paths makes `Frames.stretches` of them."""
        return frames

    @property
    def density_of(self) -> str | None:
        """What the log density of a frame, or of each of its `rows`, is over; None: it has none."""
        return "features" if self.kind == "evidence" else None

    def span(self, data: Any) -> Any:
        """Take the range on which a density is known, of all data, before some are held out; nothing, by default."""

    @classmethod
    @abstractmethod
    def example(cls) -> tuple[Model, Any, Any]:
        """Tiny model, tiny `Frames` (or `Pairs`) and an exact answer or None; the contract test runs it."""

    def inputs(self, x: Tensor) -> Tensor:
        """What the programs read in place of positions ``(n, atoms, 3)``; computed once before training."""
        return x.flatten(1)

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` of generated values ``(..., size)`` of the site ``"x"``, what `inputs` undoes.

        Of flat coordinates in threes; others are given back as they are.

        Raises
        ------
        ModelError
            The model has `inputs` of its own, but not its own `positions`.
        """
        if type(self).inputs is not Model.inputs:
            raise ModelError(
                f"{type(self).__name__} generates what its own `inputs` gives, not positions: write "
                f"{type(self).__name__}.positions(x), which takes values of the site 'x' back to positions"
            )
        return unflattened(x)

    def setup(self, frames: Any) -> None:
        """Take sizes and scales from the training `Frames` (or `Pairs`); called once, before the weights are drawn."""

    def inefficiency(self, frames: Any) -> float | None:
        """Frames or pairs for each independent term of the likelihood, 1 or more; None: the inefficiency of its inputs.

        Asked after `setup`, of all training frames. The frames of a simulation may follow each other closely,
        and yet each tell something new: of a likelihood of noisy labels given the frames it is the score, the label's
        residual times what it weighs, whose memory counts. A program whose sites have memories of their own gives the
        longest, and scales its other sites up.
        """
        return None

    def information(self, batch: Batch) -> Tensor | None:
        r"""What a batch tells of the random parameters, as functions r of them, ``(k,)``, with their weights.

        The expected Fisher information of the batch is :math:`\sum_k \nabla r_k \nabla r_k^T` at the trained values: of
        an observation :math:`N(m, s^2)` of weight w, r is :math:`\sqrt w\, m / s` with s detached, and
        :math:`\sqrt{2 w} \ln s` where s depends on random parameters, too. None: ``uncertainty="laplace"`` estimates
        the information from frames that the model generates, with noise of its own.
        """
        return None

    def residuals(self, batch: Batch) -> Tensor | None:
        r"""What the frames of a batch leave of each of the functions r of its `information`, in units of the noise.

        As many z for each frame, :math:`(y - m) / s` of :math:`y \sim N(m, s^2)`: :math:`\sum_k z_k \nabla r_k` is the
        score. For posteriors as wide as scores vary, where noises of a frame go together. None: they do not.
        """
        return None

    def schedule(self, steps: int, members: int | None, frames: bool) -> Schedule:
        """How it is trained over so many steps.

        Parameters
        ----------
        steps : int
        members : int or None
            Refits that are trained at once.
        frames : bool
            Whether it learns from frames: batches then are theirs.
        """
        return Schedule(energies=0 if frames else 1)

    def solve(self, frames: Any, weight: Tensor) -> None:
        """Set parameters in closed form; called once, at the end, for each refit, before `finish`.

        For a likelihood that is linear in some of its parameters, with Gaussian noise and prior: an optimum that no
        optimiser's steps would reach. It runs on the processor.

        Parameters
        ----------
        frames : Frames or Pairs
            All that it was trained on.
        weight : Tensor, (n,)
            What each of them counts, in this refit.
        """

    def finish(self, frames: Any, weight: Tensor) -> None:
        """Put into buffers what follows from the trained weights and all training frames, which count as in `solve`.

        Called once, at the end, for each refit.
        """

    def doubts(self, x: Tensor, weight: Tensor) -> list[str]:
        """What frames that were held out tell against the trained model: inputs ``(n, ...)``, weights ``(n,)``."""
        return []

    def reset(self) -> None:
        """Draw fresh initial weights from torch's global generator."""
        for module in self.modules():
            if module is not self and hasattr(module, "reset_parameters"):
                module.reset_parameters()  # type: ignore[operator]


@runtime_checkable
class HasCV(Protocol):
    """Models that map a configuration to a distribution over collective variables."""

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """Distribution of batch shape ``(n,)`` and event shape ``(latent_dim,)`` for positions ``(n, atoms, 3)``."""
        ...


@runtime_checkable
class HasBasis(Protocol):
    """Models that learn functions in which the slow modes are sought.

    Attributes
    ----------
    lag : float or None
        Lag time that the functions were trained for; None: for the generator, and the model then has a `diffusion`
        too (:func:`bayescg.analysis.spectrum`).
    """

    lag: float | None

    def basis(self, x: Tensor) -> Tensor:
        """Functions ``(n, functions)`` of positions ``(n, atoms, 3)`` or ``(n, dim)``, differentiable; no constant."""
        ...


@runtime_checkable
class HasFeatures(Protocol):
    """Models that read features of the positions."""

    features: nn.Module | None


@runtime_checkable
class HasNetwork(Protocol):
    """Models whose CVs are a network of features: what :mod:`bayescg.export` writes for engines."""

    def network(self) -> Sequence[nn.Module]:
        """Modules that features pass, one after the other, on their way to the means of `cv`.

        Such as ``[self.scale, self.encoder]``: `nets.Standardise`, `Whiten`, `MLP`, ``nn.Linear`` and activations, and
        at the end perhaps a `nets.ConditionalGaussian`, whose widths are the CVs' intrinsic ones.
        """
        ...


def cv_of(model: HasCV, x: Tensor) -> torch.distributions.Distribution:
    """``model.cv`` of positions ``(n, ...)``.

    Raises
    ------
    ModelError
        It is no distribution, or not one of batch shape ``(n,)`` and event shape ``(k,)``.
    """
    distribution = model.cv(x)
    name, n = type(model).__name__, len(x)
    advice = "a distribution of batch shape (n,) and event shape (k,), such as dist.Normal(mean, sd).to_event(1)"
    if not isinstance(distribution, torch.distributions.Distribution):
        raise ModelError(
            f"{name}.cv gives a {type(distribution).__name__}, not {advice}; of CVs that are a function of the "
            "configuration let sd be tiny, 1e-6"
        )
    shapes = tuple(distribution.batch_shape), tuple(distribution.event_shape)
    if shapes[0] != (n,) or len(shapes[1]) != 1:
        raise ModelError(
            f"{name}.cv of {n} configurations has batch shape {shapes[0]} and event shape {shapes[1]}; give {advice}"
        )
    return distribution


def unflattened(x: Tensor) -> Tensor:
    """Flat coordinates ``(..., 3 atoms)`` as positions ``(..., atoms, 3)``; those that are not threes as they are."""
    return x.unflatten(-1, (-1, 3)) if x.shape[-1] % 3 == 0 else x


def random_parameters(model: Model, batch: Batch) -> list[str]:
    """Names of the parameters that the model's program makes random: its global latent sites.

    Raises
    ------
    ModelError
        A global site that the guide does not sample has no parameter of its name.
    """
    with torch.no_grad():
        proposed, latent, *_ = run_pair(model.model, model.guide, batch)
    parameters = dict(model.named_parameters())
    names = []
    for name, site in latent.items():
        if site["is_observed"] or name in proposed:
            continue
        if is_local(site):
            raise ModelError(f"site {name!r} of the model is local to the frames, but the guide does not sample it")
        if name not in parameters:
            raise ModelError(
                f"global site {name!r} of the model is neither sampled by the guide nor named after a parameter; "
                f"parameters are {', '.join(list(parameters)[:8])}"
            )
        names.append(name)
    return names


def point_guide(model: Model, names: list[str]) -> None:
    """Propose for each named random parameter the module's own value."""
    for name in names:
        value = attribute(model, name)
        pyro.sample(name, dist.Delta(value).to_event(value.dim()))


def check_programs(model: Model, batch: Batch) -> list[str]:
    """Run both programs once, plainly and validated, and return the names of the random parameters.

    Raises
    ------
    ModelError
        The sites of model and guide disagree, a shape differs, a guide site is not reparameterised, a value or a log
        density is not finite, or one of them uses NumPy or Pyro's global parameter store.
    DataError
        The batch is smaller than the model's minimum.
    """
    if model.kind not in KINDS:
        raise ModelError(f"{type(model).__name__}.kind is {model.kind!r}; it must be one of {', '.join(KINDS)}")
    if len(batch) < model.minimum_batch:
        raise DataError(
            f"{type(model).__name__} needs at least {model.minimum_batch} frames in a batch, got {len(batch)}"
        )
    if not pyro.settings.get("module_local_params"):
        raise ModelError("Pyro's setting module_local_params was switched off; bayescg needs it on")
    before = set(pyro.get_param_store().keys())
    try:
        with torch.no_grad(), pyro.validation_enabled(True), TensorsOnly(), buffers_kept(model):
            names = random_parameters(model, batch)
            proposed, modelled, *traces = run_pair(
                model.model, lambda b: (point_guide(model, names), model.guide(b)), batch
            )
            for trace in traces:
                trace.compute_log_prob()
    except (ValueError, RuntimeError) as error:
        problem, _, shapes = str(error).partition("Trace Shapes:")  # Pyro's table, of use once it holds a site
        problem = str(error) if set(re.findall(r"(\S+) dist\b", shapes)) - {"frames"} else problem.rstrip()
        raise ModelError(f"{type(model).__name__} does not run on a batch of {len(batch)} frames: {problem}") from error
    latent = {k for k, s in modelled.items() if not s["is_observed"]}
    extra = set(proposed) - latent
    if extra:
        raise ModelError(
            f"the guide samples {', '.join(sorted(extra))}, which the model does not (its latent sites: "
            f"{', '.join(sorted(latent)) or 'none'}); is a name misspelt?"
        )
    for name, site in proposed.items():
        if not site["fn"].has_rsample:
            raise ModelError(
                f"guide site {name!r} ({type(site['fn']).__name__}) has no reparameterised sampler; "
                "sum it in closed form"
            )
        ours, theirs = site["fn"], modelled[name]["fn"]
        if ours.event_shape != theirs.event_shape:
            raise ModelError(
                f"site {name!r}: the guide's event shape is {tuple(ours.event_shape)}, "
                f"the model's {tuple(theirs.event_shape)}"
            )
    for where, t in (("guide", proposed), ("model", modelled)):
        for name, site in t.items():
            _check_finite(where, name, site)
    added = set(pyro.get_param_store().keys()) - before
    if added:
        for name in added:
            del pyro.get_param_store()[name]
        raise ModelError("the programs call pyro.param, whose store is shared by the process; use nn.Parameter")
    return names


def finished(
    model: Model, frames: Any, weight: Tensor | None, point: Params, refits: Params, members: int | None
) -> tuple[Params, Params]:
    """Trained values with what `Model.solve` and `Model.finish` make of them, of each refit and of the point itself."""
    if frames is None or weight is None or (type(model).finish is Model.finish and not solves(model)):
        return point, refits
    rows, weights, device = [], list(weight) if members else [weight], weight.device
    for number, values in enumerate([*({k: v[m] for k, v in refits.items()} for m in range(members or 0)), point]):
        model.load_state_dict({**point, **values}, strict=False)
        counting = weights[number % len(weights)]  # the first refit is the point
        if solves(model):  # on the processor, where the frames are
            model.cpu().solve(frames, counting.cpu())
        model.to(device).finish(frames, counting)
        state = model.named_buffers() if not solves(model) else (*model.named_parameters(), *model.named_buffers())
        rows.append({k: v.detach().clone() for k, v in state})
    point = {**point, **rows.pop()}
    more = {k: torch.stack([row[k] for row in rows]) for k in rows[0]} if rows else {}
    return point, {**refits, **more}


def solves(model: Model) -> bool:
    """Whether some of its parameters are set in closed form."""
    return type(model).solve is not Model.solve


def check_data(model: Model, data: Any) -> None:
    """Refuse frames where the model learns from lagged pairs, pairs where it does not, and pairs of another lag.

    Raises
    ------
    DataError
    """
    name, lag = type(model).__name__, getattr(model, "lag", None)
    if model.needs_pairs and not isinstance(data, Pairs):
        raise DataError(
            f"{name} learns from pairs of frames a lag time apart, not from single frames; give it frames.lagged(lag)"
        )
    if not model.needs_pairs and isinstance(data, Pairs):
        raise DataError(f"{name} learns from single frames, not from lagged pairs; give it the frames themselves")
    if isinstance(data, Stretches) and type(model).rows is Model.rows:
        raise DataError(f"{name} does not learn from whole stretches of trajectories; give it the frames themselves")
    if model.needs_pairs and lag is not None and abs(data.lag - lag) > 1e-6 * lag:
        raise DataError(
            f"this {name} is one of lag {lag:g}, these pairs are {data.lag:g} apart; use frames.lagged({lag:g})"
        )


def fresh_copy(model: Model) -> Model:
    """Copy of a model that shares nothing with it."""
    return copy.deepcopy(model)


def _check_finite(where: str, name: str, site: dict[str, Any]) -> None:
    for what, value in (("value", site["value"]), ("log density", site["log_prob"])):
        if torch.is_tensor(value) and not torch.isfinite(value).all():
            bad = torch.nonzero(~torch.isfinite(value))[:5].tolist()
            raise ModelError(f"site {name!r} of the {where} has a {what} that is not finite, first at {bad}")
