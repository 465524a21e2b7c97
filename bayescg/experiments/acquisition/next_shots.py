"""Shots from where they tell most about a committor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.special import xlogy
from torch import Tensor

import bayescg as bcg
from bayescg.analysis.quantity import Quantity
from bayescg.arguments import check_counts
from bayescg.data import Frames
from bayescg.errors import ConfigError
from bayescg.experiments.acquisition.acquire import Acquisition, check_arguments_of, fit_settings
from bayescg.experiments.stored_shots import joined_shots, stored_shots
from bayescg.inference import Fit

if TYPE_CHECKING:
    from bayescg.systems import System

__all__ = ["Shots", "information", "probabilities"]


class Shots(Acquisition):
    r"""Shots from those configurations of a pool that tell most.

    A shot from x ends in region r with probability :math:`p_r(x; \theta)`. What its outcome tells of the parameters
    :math:`\theta` is their mutual information,
    :math:`H[\langle p \rangle_\theta] - \langle H[p] \rangle_\theta`: nothing where all refits agree, be it on a coin
    toss. The next batch is drawn from the pool with probabilities proportional to it, which keeps its members apart.

    Parameters
    ----------
    system : System
    model : Model
        Whose leading CVs are logits of the regions, `MultitaskCV` for one; it is fitted with several refits.
    tolerance : float or None
    seed : int
    configurations : Frames
        The pool, as :func:`bayescg.sampling.flattened` makes it.
    dt : float
    regions : mapping of str to callable, optional
        In the order of the model's `regions`; default: the system's states of these names.
    first, batch : int
        Configurations of the first round, drawn evenly, and of every further one.
    shots : int, default 4
        From each; several configurations tell more than several shots.
    fit : mapping, optional
        Arguments of :func:`bayescg.fit`.
    **shooting
        Further arguments of :func:`bayescg.sampling.commitment`.

    References
    ----------
    Lindley, Ann. Math. Statist. 27, 986 (1956); Houlsby, Huszár, Ghahramani, Lengyel, "Bayesian active learning for
    classification and preference learning", arXiv:1112.5745 (2011), eq. (2).
    """

    def __init__(
        self,
        system: System,
        model: Any,
        tolerance: float | None,
        seed: int,
        *,
        configurations: Frames,
        dt: float,
        regions: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
        first: int = 50,
        batch: int = 25,
        shots: int = 4,
        fit: Mapping[str, Any] | None = None,
        **shooting: Any,
    ):
        super().__init__(system, model, tolerance, seed)
        check_counts(first=(first, 2), batch=(batch, 1), shots=(shots, 1))
        if not isinstance(configurations, Frames):
            raise ConfigError("configurations= must be Frames to choose from: bcg.sampling.flattened makes some")
        if first > len(configurations):
            raise ConfigError(f"first={first}, but there are {len(configurations)} configurations to choose from")
        names = list(getattr(model, "regions", []))
        if "commitments" not in getattr(model, "tasks", ()) or not hasattr(model, "logits"):
            raise ConfigError(
                f"{type(model).__name__} does not learn from shots: give a MultitaskCV with the task 'commitments'"
            )
        given_by = system.states if regions is None else regions
        if missing := [name for name in names if name not in given_by]:
            raise ConfigError(f"no region is called {', '.join(missing)}, as the model's are: give regions=")
        self.regions = {name: given_by[name] for name in names}
        self.pool, self.first, self.batch = configurations, first, batch
        check_arguments_of(
            bcg.sampling.commitment,
            shooting,
            ("system", "configurations", "seed", "all_regions", "progress"),
            Shots,
        )
        self.shooting = {"shots": shots, "dt": dt, **shooting}
        self.settings = fit_settings(fit)
        self.rounds: list[Frames] = []
        self.rows: set[int] = set()
        self.quantities = {"committor": self.committor}

    def identity(self) -> dict[str, Any]:
        """The pool, the regions, and all settings."""
        settings = {"fit": self.settings, "shooting": self.shooting, "first": self.first, "batch": self.batch}
        return {"configurations": self.pool.fingerprint(), "regions": list(self.regions), **settings}

    def begin(self) -> dict[str, Any]:
        """Configurations drawn evenly."""
        return {"rows": self._random(0).choice(len(self.pool), self.first, replace=False).tolist()}

    def propose(self, fit: Fit, frames: Frames, value: Quantity) -> dict[str, Any] | None:
        """Configurations that were not shot from yet."""
        left = np.setdiff1d(np.arange(len(self.pool)), sorted(self.rows))
        if not len(left):
            return None
        score = self.score(probabilities(fit, self.pool[left]))
        rng, count = self._random(len(self.rounds)), min(self.batch, int(np.count_nonzero(score)) or len(left))
        share = score / score.sum() if score.any() else None
        return {"rows": left[rng.choice(len(left), min(count, len(left)), replace=False, p=share)].tolist()}

    def score(self, p: np.ndarray) -> np.ndarray:
        """What a shot tells, (n,), by probabilities (draws, n, regions); here :func:`information`."""
        return information(p)

    def answer(self, query: dict[str, Any], path: Path, seed: int) -> Frames:
        """Shoot from the rows of the pool."""

        def shoot() -> tuple[Frames, int]:
            shots = bcg.sampling.commitment(
                self.system, self.pool[query["rows"]], self.regions, seed=seed, all_regions=False, progress=False,
                **self.shooting,
            )  # fmt: skip
            return shots, shots.provenance["cost"]["force_evaluations"]

        self.rows |= set(query["rows"])
        self.rounds.append(stored_shots(path / "shots.npz", self.system, list(self.regions), shoot))
        return joined_shots(self.system, self.rounds)

    def learn(self, frames: Frames, path: Path, seed: int) -> Fit:
        """Refits to all shots."""
        saved = path / "fit"
        if not (saved / "fit.json").exists():
            bcg.fit(self.model, frames, seed=seed, **self.settings).save(saved)
        fit = Fit.load(saved, model=copy.deepcopy(self.model))
        fit.frames = frames
        return fit

    def committor(self, fit: Fit, frames: Frames) -> Quantity:
        """Probability of the last region, its mean over the pool, and as its sd the root mean square of those of each.

        The average itself is far surer than what it is made of.
        """
        p = probabilities(fit, self.pool)[..., -1]
        spread = float(np.sqrt(p.var(0, ddof=1).mean()))
        mean = p.mean(1)
        return Quantity(float(mean.mean()), spread, None, mean, "")

    def _random(self, number: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, number])


def probabilities(fit: Fit, frames: Frames) -> np.ndarray:
    """Where shots from frames end by each refit, (draws, n, regions)."""
    model: Any = fit.model
    return torch.softmax(model.logits(fit.cv_draws(frames)).double(), -1).cpu().numpy()


def information(p: np.ndarray) -> np.ndarray:
    """Mutual information, in nats, of a shot's outcome and the parameters.

    Parameters
    ----------
    p : ndarray, shape (draws, n, regions)
        Probabilities of the outcomes.

    Returns
    -------
    ndarray, shape (n,)

    Examples
    --------
    >>> agreed, split = [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    >>> information(np.stack([agreed, split], 1)).round(4)
    array([0.    , 0.6931])
    """
    return np.maximum(xlogy(p, p).sum(-1).mean(0) - xlogy(p.mean(0), p.mean(0)).sum(-1), 0.0)
