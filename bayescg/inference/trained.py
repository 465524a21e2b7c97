"""A trained model with a distribution over its parameters: its CVs, what it generates, and its log densities."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts
from bayescg.data import Frames, effective
from bayescg.draws import pareto_k
from bayescg.errors import ModelError
from bayescg.feeding.chunks import chunks, joined, observations
from bayescg.inference.fitted_map import FittedMap, fitted_map
from bayescg.inference.fitted_system import FittedSystem, fitted_system
from bayescg.inference.generation import generate_draws
from bayescg.inference.objectives import log_marginal, log_weights
from bayescg.inference.refit_cvs import mixture, refit_cvs, turned
from bayescg.inference.uncertainty import Posterior
from bayescg.modelling.model import HasCV, Model, cv_of
from bayescg.recording.functional import Params, seeded
from bayescg.systems import System

__all__ = ["TrainedModel"]

_STRIDE = 1_000_003
"""Between the seeds of consecutive chunks of frames."""


class TrainedModel:
    """What a model says of configurations, with the uncertainty of its parameters.

    Parameters
    ----------
    model : Model
        With the trained values of all parameters.
    weights : Posterior
        Distribution over the parameters.
    frames : Frames, optional
        The frames it was trained on, where they are at hand.
    gauge : Tensor, optional
        Orthogonal maps of the refits' CVs onto the trained one's.
    """

    def __init__(self, model: Model, weights: Posterior, frames: Frames | None = None, gauge: Tensor | None = None):
        self.model, self.weights, self.frames, self.gauge = model.eval(), weights, frames, gauge

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
        best orthogonal map (but for `Model.fixed_cvs`), so that its spread holds parameter uncertainty beside the
        intrinsic one.

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
            if self.gauge is None:
                whole = joined([cv_of(self.model, c) for c in self._chunks(x)])
                return whole or cv_of(self.model, torch.cat(list(self._chunks(x))))
            parts = [turned(*refit_cvs(self.model, self.weights, c), self.gauge) for c in self._chunks(x)]
            return mixture(*map(torch.cat, zip(*parts, strict=True)))

    def system(self, draw: int | None = None, draws: int | None = None, seed: int = 0) -> FittedSystem:
        """The potential energy that was learned, as a System: samplers, :mod:`bayescg.truth` and analyses take it.

        Parameters
        ----------
        draw : int, optional
            Number of one draw of the posterior, or of a refit; None: the trained values.
        draws : int, optional
            So many draws as one system, a batch of them: positions ``(draws, n, dim)`` give energies ``(draws, n)``,
            and the chains of a sampler are divided among the draws, in order.
        seed : int
            Of the draws.

        Raises
        ------
        ModelError
            The model has no potential, or the fit has no parameter uncertainty to draw from.
        ConfigError
            Both are given, or there are not so many refits.
        """
        system = fitted_system(self.model, self.weights, draw, draws, seed)
        if self.frames is not None and (first := self.frames.gather([0])).size == system.dim:
            system.start = first[0]
        return system

    def map(
        self,
        draw: int | None = None,
        draws: int | None = None,
        seed: int = 0,
        lag: float | None = None,
        system: System | None = None,
    ) -> FittedMap:
        """The step over a lag time that was learned: :func:`bayescg.sampling.mapped_dynamics` follows it.

        Arguments and errors as of `system`; a batch of states is divided among `draws`, in order. A fit to pairs of
        several lags knows any step up to the longest, `lag`, and one of particles any number of them, in `system`.
        """
        return fitted_map(self.model, self.weights, draw, draws, seed, lag, system)

    def parameters(self, draws: int | None = None, seed: int = 0) -> Params:
        """Draws of the parameters that vary, each ``(draws, ...)``; None: every refit once, else 200 draws."""
        return self.weights.draw(draws, seed)

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
        return self.model.positions(generate_draws(self.model, self.weights, frames, draws, seed))

    def generated_inputs(
        self, frames: int, draws: int | None = None, seed: int = 0, replicates: bool = False
    ) -> Tensor:
        """As `generate`, but what the model itself generates, its features: ``(draws, frames, ...)``.

        With `replicates`, each draw has random numbers of its own.
        """
        return generate_draws(self.model, self.weights, frames, draws, seed, replicates=replicates)

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
        x = generate_draws(self.model, self.weights, frames, draws, seed, repeats)
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
            if self.gauge is None:
                return torch.cat([cv_of(self.model, c).mean for c in self._chunks(x)])[None]
            means = torch.cat([refit_cvs(self.model, self.weights, c)[0] for c in self._chunks(x)], 1)
            return torch.einsum("mnd,mda->mna", means, self.gauge)

    def cv_samples(self, x: Tensor, draws: int) -> Tensor:
        """One value of the CVs of each frame for each draw, ``(draws, n, latent_dim)``, of the draw's own refit."""
        if self.gauge is None:
            return self.cv(x).sample((draws,))
        with torch.no_grad():
            means, variances = refit_cvs(self.model, self.weights, x)
            refit = torch.arange(draws, device=x.device) % len(means)
            z = means[refit] + variances[refit].sqrt() * torch.randn_like(means[refit])
            return torch.einsum("snd,sda->sna", z, self.gauge[refit])

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
            ess.append(effective(logs) / particles)
        shape = np.concatenate(k)
        return {
            "pareto_k": float(np.median(shape)), "pareto_k_largest": float(shape.max()),
            "pareto_k_share_above_0.7": float((shape > 0.7).mean()), "ess_fraction": float(torch.cat(ess).mean()),
        }  # fmt: skip

    def _chunks(self, x: Any) -> Iterator[Tensor]:
        features = getattr(self.model, "features", None)
        if features is not None and isinstance(x, Frames):
            features.check_frames(x)
        return chunks(x, next(self.model.parameters()))
