"""A fitted model: its CVs, its predictions and its draws."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp

from bayescg.arguments import check_counts
from bayescg.draws import pareto_k, to_tree
from bayescg.errors import ModelError
from bayescg.feeding.chunks import chunks, joined, observations
from bayescg.inference.objectives import log_marginal, log_weights
from bayescg.inference.stored import read_fit, write_fit
from bayescg.inference.uncertainty import MEMBERS, Posterior, generate
from bayescg.modelling.model import HasCV, Model, cv_of
from bayescg.recording.functional import Params, call_with, functional_random, over, seeded

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames

__all__ = ["Fit", "warned_if_failing"]

_STRIDE = 1_000_003
"""Between the seeds of consecutive chunks of frames."""


class Fit:
    """What `bayescg.fit` returns.

    Attributes
    ----------
    model : Model
        With the trained values of all parameters.
    weights : Posterior
        Distribution over the parameters.
    diagnostics : dict
        Statistical inefficiency, best step, held-out loss, what the CV's uncertainty holds, warnings.
    cost : dict
        Steps, seconds, device.
    log : list of dict
        Step, loss and held-out loss, in nats per frame.
    frames : Frames or None
        The frames it was trained on, where they are at hand.
    """

    def __init__(
        self,
        model: Model,
        weights: Posterior,
        settings: dict[str, Any],
        diagnostics: dict[str, Any],
        cost: dict[str, Any],
        log: list[dict[str, float]],
        frames: Frames | None = None,
        gauge: Tensor | None = None,
    ):
        self.model, self.weights, self.settings = model.eval(), weights, settings
        self.diagnostics, self.cost, self.log, self.frames = diagnostics, cost, log, frames
        self._gauge = gauge
        if isinstance(model, HasCV):
            if weights.kind in MEMBERS and gauge is None and frames is not None:
                with warned_if_failing("the CVs of the refits", self.diagnostics.setdefault("warnings", [])):
                    self._gauge = self._align(frames)
            folded = weights.kind in MEMBERS and (self._gauge is not None or frames is None)
            self.diagnostics["cv_uncertainty"] = "intrinsic and parameter" if folded else "intrinsic only"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.model.parameters()).device

    @property
    def generates(self) -> bool:
        """Whether frames can be drawn from the model, without any that are observed."""
        with suppress(ModelError):
            return len(self.generated_inputs(1, draws=1)) == 1
        return False

    def cv(self, x: Any) -> torch.distributions.Distribution:
        """Distribution over the CVs of configurations: batch shape ``(n,)``, event shape ``(latent_dim,)``.

        With an ensemble or bootstrap it is the mixture of the refits' CVs, each turned onto the trained one's by the
        best orthogonal map, so that its spread holds parameter uncertainty beside the intrinsic one.

        Parameters
        ----------
        x : Tensor, ndarray or Frames
            Positions ``(n, atoms, 3)`` in nm, or ``(n, dim)``.

        Raises
        ------
        ModelError
            The model has no CV.
        DataError
            A coordinate is not finite.
        """
        if not isinstance(self.model, HasCV):
            raise ModelError(f"{type(self.model).__name__} has no collective variables")
        with torch.no_grad():
            if self._gauge is None:
                one = joined([cv_of(self.model, c) for c in self._chunks(x)])
                return one or cv_of(self.model, torch.cat(list(self._chunks(x))))
            found = []
            for means, variances in map(self._member_cv, self._chunks(x)):
                covariance = torch.einsum("mda,mnd,mdb->nmab", self._gauge, variances, self._gauge)
                found.append((torch.einsum("mnd,mda->nma", means, self._gauge), covariance))
            means, covariance = map(torch.cat, zip(*found, strict=True))
        parts = torch.distributions.MultivariateNormal(means, covariance)
        even = torch.distributions.Categorical(logits=torch.zeros(means.shape[:2], device=means.device))
        return torch.distributions.MixtureSameFamily(even, parts)

    def parameters(self, draws: int | None = None, seed: int = 0) -> Params:
        """Draws of the parameters that vary, each ``(draws, ...)``; None: every refit once, else 200 draws."""
        if draws is not None:
            check_counts(draws=(draws, 1))
        return self.weights.draw(draws or self.weights.members or 200, seed)

    def generate(self, frames: int, draws: int | None = None, seed: int = 0) -> Tensor:
        """Posterior predictive: `frames` configurations for each draw of the parameters.

        The same random numbers serve every draw, so that draws differ by their parameters only.

        Parameters
        ----------
        frames : int
        draws : int, optional
            Draws of the parameters; None: every refit once, else 200 (one where the fit has no parameter
            uncertainty).
        seed : int

        Returns
        -------
        Tensor
            Positions ``(draws, frames, atoms, 3)`` where the features determine them; nm.

        Raises
        ------
        ModelError
            The model generates nothing, or not positions.
        """
        return self.model.positions(self._generated(frames, draws, seed))

    def generated_inputs(self, frames: int, draws: int | None = None, seed: int = 0) -> Tensor:
        """As `generate`, but what the model itself generates, its features: ``(draws, frames, ...)``."""
        return self._generated(frames, draws, seed)

    def generate_repeats(self, frames: int, repeats: int = 2, draws: int | None = None, seed: int = 0) -> Tensor:
        """Posterior predictive with several configurations of every value of the latent variables.

        What differs between the configurations of one value is what the latent variables, the CVs, leave open.

        Parameters
        ----------
        frames : int
            Values of the latent variables.
        repeats : int
            Configurations of each.
        draws : int, optional
            Draws of the parameters, as in `generate`.
        seed : int

        Returns
        -------
        Tensor
            Positions ``(draws, frames, repeats, atoms, 3)``; nm.

        Raises
        ------
        ModelError
            The model generates nothing, or not positions.
        """
        x = self._generated(frames, draws, seed, repeats)
        return self.model.positions(x).unflatten(1, (frames, repeats))

    def cv_draws(self, x: Any) -> Tensor:
        """Mean of the CVs for every refit, in the trained one's gauge, ``(draws, n, latent_dim)``.

        One draw where the uncertainty of the parameters does not reach the CVs.

        Parameters
        ----------
        x : Tensor, ndarray or Frames
            Positions ``(n, atoms, 3)`` in nm, or ``(n, dim)``.

        Raises
        ------
        ModelError
            The model has no CV.
        """
        if not isinstance(self.model, HasCV):
            raise ModelError(f"{type(self.model).__name__} has no collective variables")
        with torch.no_grad():
            if self._gauge is None:
                return torch.cat([cv_of(self.model, c).mean for c in self._chunks(x)])[None]
            means = torch.cat([self._member_cv(c)[0] for c in self._chunks(x)], 1)
            return torch.einsum("mnd,mda->mna", means, self._gauge)

    def log_density(self, frames: Any, draws: int | None = None, particles: int = 64, seed: int = 0) -> Tensor:
        """Log p(x) of frames in the model's features, latent variables integrated out, ``(draws, n)``.

        Parameters
        ----------
        frames : Frames, Pairs, Tensor or ndarray
        draws : int, optional
            Draws of the parameters; None: the trained values, one row.
        particles : int
            Draws of the latent variables a frame.
        seed : int

        Raises
        ------
        ModelError
            Draws of a Laplace posterior were asked for: it is one of the linearised model, whose density is not known.
        """
        if draws is not None and self.weights.kind == "laplace":
            raise ModelError(
                "a Laplace posterior predicts with the linearised model, which has no density; use draws=None"
            )
        check_counts(particles=(particles, 1))
        varying = self.parameters(draws, seed) if draws is not None else {}
        names = list(self.weights.names)
        points = [{k: v[i] for k, v in varying.items()} for i in range(draws or 1)] if varying else [{}]
        columns = []
        for number, x in enumerate(observations(self.model, frames)):
            rows = []
            for point in points:  # draws share their random numbers: they differ by parameters only
                with seeded(seed + _STRIDE * number, self.device), torch.no_grad():
                    rows.append(log_marginal(self.model, names, {**self.weights.point, **point}, x, particles))
            columns.append(torch.stack(rows))
        return torch.cat(columns, 1)

    def guide_quality(self, frames: Any, particles: int = 200, seed: int = 0) -> dict[str, float]:
        """Pareto k and effective fraction of the guide's importance weights, each frame's own, in a few numbers.

        Parameters
        ----------
        frames : Frames, Tensor or ndarray
        particles : int
            At least 25.
        seed : int

        Returns
        -------
        dict
            ``pareto_k`` (median over frames), ``pareto_k_largest``, ``pareto_k_share_above_0.7`` (fraction of the
            frames where importance sampling fails), ``ess_fraction`` (average over frames). A guide that proposes
            nothing, or each frame's exact posterior, has weights that do not vary: k is 0 and the fraction 1.
        """
        check_counts(particles=(particles, 25))
        k, ess = [], []
        for number, x in enumerate(observations(self.model, frames)):
            with seeded(seed + _STRIDE * number, self.device), torch.no_grad():
                names = list(self.weights.names)
                logs = log_weights(self.model, names, self.weights.point, x, particles).T
            k.append(pareto_k(logs.cpu().double().numpy()))
            ess.append(1 / torch.softmax(logs, 1).square().sum(1) / particles)
        shape = np.concatenate(k)
        return {
            "pareto_k": float(np.median(shape)), "pareto_k_largest": float(shape.max()),
            "pareto_k_share_above_0.7": float((shape > 0.7).mean()), "ess_fraction": float(torch.cat(ess).mean()),
        }  # fmt: skip

    def posterior(
        self, draws: int | None = None, seed: int = 0, frames: Frames | None = None, subset: int = 200
    ) -> xr.DataTree:
        """Draws with named dimensions, for `arviz_stats` and `arviz_plots`.

        Groups: ``posterior`` (the random parameters; ``cv``), ``posterior_predictive`` and ``observed_data`` (``x``),
        ``log_likelihood`` (log p(x) of each frame with the latent variables integrated out; evidence models only, and
        not with a Laplace posterior, whose linearised predictions have no density). A draw is one in every group.

        An ensemble or bootstrap has as many draws of the parameters as refits. More `draws` repeat them, with new
        random numbers for ``cv`` and ``posterior_predictive``; the coordinate ``refit`` of the dimension ``draw`` says
        which refit a draw is. What counts draws as independent (effective sample size, Monte Carlo error) is right
        only where none is repeated, as by default. PSIS-LOO wants many draws that differ: ArviZ refuses 19 of them,
        and repeats would mislead it; use ``"mean-field"``, or `log_density` of frames that were held out.

        Parameters
        ----------
        draws : int, optional
            None: every refit once, else 500.
        seed : int
        frames : Frames, optional
            The frames to look at; None: those of the fit.
        subset : int
            At most so many frames, evenly spaced; the coordinate ``frame`` says which.
        """
        source = frames if frames is not None else self.frames
        members = self.weights.members
        draws = draws or members or 500
        varying = self.parameters(draws, seed)
        names = [n for n in self.weights.names if n in varying]
        groups: dict[str, Any] = {
            "posterior": {n: (("draw", *_dims(n, varying[n])), _numpy(varying[n])) for n in names}
        }
        coords: dict[str, Any] = {"draw": np.arange(draws)}
        if members:
            coords["refit"] = ("draw", np.arange(draws) % members)
        predicted = min(subset, len(source)) if source is not None else subset
        if self.model.kind == "evidence":
            shaped, dims, labels = self._shaped(self._generated(predicted, draws, seed, replicates=True))
            coords |= labels
            groups["posterior_predictive"] = {"x": (("draw", "frame", *dims), shaped)}
        if source is not None:
            index = np.unique(np.linspace(0, len(source) - 1, predicted).astype(int))
            coords["frame"] = index
            few = torch.as_tensor(source.gather(index)).to(self.device)
            if isinstance(self.model, HasCV):
                with seeded(seed, self.device):
                    z = self._cv_samples(few, draws)
                coords["latent"] = np.arange(z.shape[-1])
                groups["posterior"]["cv"] = (("draw", "frame", "latent"), _numpy(z))
            if "posterior_predictive" in groups and self.model.needs_frames:
                shaped, dims, _ = self._shaped(self.model.inputs(few)[None])
                groups["observed_data"] = {"x": (("frame", *dims), shaped[0])}
            if self.model.kind == "evidence" and self.model.needs_frames and self.weights.kind != "laplace":
                unique = min(members or draws, draws) if varying else None
                logs = _numpy(self.log_density(few, unique, seed=seed))
                groups["log_likelihood"] = {"x": (("draw", "frame"), logs[np.arange(draws) % len(logs)])}
        attrs = {
            "seed": seed,
            "uncertainty": self.weights.kind,
            "kind": self.model.kind,
            "bayescg": version("bayescg"),
        }
        return to_tree(groups, coords, attrs)

    def log_csv(self) -> str:
        """The loss log as CSV, in nats per frame: `loss` holds the prior, `training` and `validation` do not."""
        stream = io.StringIO()
        fields = ["step", "loss", "training", "validation"] + ["beta"] * any("beta" in row for row in self.log)
        writer = csv.DictWriter(stream, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.log)
        return stream.getvalue()

    def to_tensorboard(self, directory: str | Path) -> None:
        """Write the loss log as TensorBoard events; needs the extra ``bayescg[tensorboard]``.

        Parameters
        ----------
        directory : path
        """
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(directory)) as writer:
            for row in self.log:
                for key in ("loss", "training", "validation"):
                    if key in row:
                        writer.add_scalar(key, row[key], int(row["step"]))

    def save(self, directory: str | Path) -> None:
        """Write the fit to a directory: safetensors + JSON.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        write_fit(Path(directory), self, self._gauge)

    @classmethod
    def load(cls, directory: str | Path, model: Model | None = None) -> Fit:
        """Read what `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        directory : path
        model : Model, optional
            A model of the same configuration, needed only where its class is not registered or its configuration
            cannot hold a user's own function.

        Raises
        ------
        CheckpointError
            The directory holds no fit, a damaged one, or one of another model, configuration or system.
        """
        model, weights, meta, gauge = read_fit(directory, model)
        return cls(model, weights, meta["settings"], meta["diagnostics"], meta["cost"], meta["log"], gauge=gauge)

    def _chunks(self, x: Any) -> Iterator[Tensor]:
        return chunks(x, next(self.model.parameters()))

    def _generated(
        self, frames: int, draws: int | None, seed: int, repeats: int = 1, replicates: bool = False
    ) -> Tensor:
        # replicates: each draw has random numbers of its own; otherwise all share theirs and differ by parameters only
        check_counts(frames=(frames, 1), repeats=(repeats, 1), seed=(seed, 0))
        varying = self.parameters(draws, seed)
        names = list(self.weights.names)

        def at(v: Params) -> Tensor:
            return call_with(self.model, {**self.weights.point, **v}, lambda m: generate(m, names, frames, repeats))

        def along(v: Params) -> Tensor:
            # a Laplace posterior is one of the model linearised at the trained values: only there is it Gaussian
            point = {k: self.weights.point[k] for k in v}
            value, change = jvp(at, (point,), ({k: v[k] - point[k] for k in v},))[:2]
            return value + change

        one = along if self.weights.kind == "laplace" else at
        rows = len(next(iter(varying.values()))) if varying else (draws or 1 if replicates else 1)
        chunk = max(1, 40_000 // (frames * repeats))  # a few megabytes at a time
        found = None  # filled in place: parts joined at the end would leave the heap in pieces
        for start in range(0, rows, chunk):
            shared = seed + 1 + (start if replicates else 0)
            with seeded(shared, self.device), torch.no_grad(), functional_random(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore", DeprecationWarning
                )  # forward-mode derivatives still go through torch.jit
                if varying:
                    some = {k: v[start : start + chunk] for k, v in varying.items()}
                    part = over(one, ({k: 0 for k in some},), same_draws=not replicates)(some)
                else:
                    part = torch.stack([at({}) for _ in range(min(chunk, rows - start))])
                found = part.new_empty(rows, *part.shape[1:]) if found is None else found
                found[start : start + chunk] = part
        assert found is not None
        return found

    def _cv_samples(self, x: Tensor, draws: int) -> Tensor:
        """One value of the CVs of each frame for each draw, ``(draws, n, latent_dim)``, of the draw's own refit."""
        if self._gauge is None:
            return self.cv(x).sample((draws,))
        with torch.no_grad():
            means, variances = self._member_cv(x)
            refit = torch.arange(draws, device=x.device) % len(means)
            z = means[refit] + variances[refit].sqrt() * torch.randn_like(means[refit])
            return torch.einsum("snd,sda->sna", z, self._gauge[refit])

    def _shaped(self, x: Tensor) -> tuple[np.ndarray, tuple[str, ...], dict[str, Any]]:
        """Positions (..., atom, space) where generated values determine them, otherwise the values themselves."""
        with suppress(ModelError):
            x = self.model.positions(x)
        if x.dim() == 4 and x.shape[-1] == 3:
            return _numpy(x), ("atom", "space"), {"atom": np.arange(x.shape[-2]), "space": ["x", "y", "z"]}
        return _numpy(x), ("coordinate",), {"coordinate": np.arange(x.shape[-1])}

    def _member_cv(self, x: Tensor) -> tuple[Tensor, Tensor]:
        def one(v: Params) -> tuple[Tensor, Tensor]:
            d = call_with(self.model, {**self.weights.point, **v}, lambda m: cv_of(m, x))
            return d.mean, d.variance

        return over(one, ({k: 0 for k in self.weights.tensors},))(self.weights.tensors)

    def _align(self, frames: Frames) -> Tensor:
        index = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), 2000)).astype(int))
        with torch.no_grad():
            x = torch.as_tensor(frames.gather(index)).to(self.device, dtype=next(self.model.parameters()).dtype)
            means, _ = self._member_cv(x)
            u, _, vh = torch.linalg.svd(torch.einsum("mnd,na->mda", means, cv_of(self.model, x).mean))
        return u @ vh


@contextmanager
def warned_if_failing(what: str, warned: list[str]) -> Iterator[None]:
    """Around what only describes a fit: that it fails is told in its warnings, and costs no fit."""
    try:
        yield
    except Exception as error:  # a model's author's programs may raise anything
        warned.append(f"{what} could not be computed: {type(error).__name__}: {error}")


def _dims(name: str, value: Tensor) -> tuple[str, ...]:
    return tuple(f"{name}_{i}" for i in range(value.dim() - 1))


def _numpy(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()
