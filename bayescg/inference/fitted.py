"""What a fit returns: the trained model, with the record of its training."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from bayescg.errors import DataError, Interrupted, ModelError
from bayescg.inference.posterior_tree import posterior_tree
from bayescg.inference.refit_cvs import rotations
from bayescg.inference.reweighting import SAMPLES, reweighted
from bayescg.inference.sampled_path import sampled_path
from bayescg.inference.stored import read_fit, write_fit
from bayescg.inference.trained import TrainedModel
from bayescg.inference.uncertainty import MEMBERS, Posterior
from bayescg.modelling.model import HasCV, Model, fresh_copy
from bayescg.modelling.schedules.schedule import Schedule

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames
    from bayescg.systems import System

__all__ = ["Fit", "warned_if_failing"]


class Fit(TrainedModel):
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
        self.settings, self.diagnostics, self.cost, self.log = settings, diagnostics, cost, log
        folded = weights.kind in MEMBERS and isinstance(model, HasCV)
        if folded and gauge is None and frames is not None:
            with warned_if_failing("the CVs of the refits", self.diagnostics.setdefault("warnings", [])):
                gauge = rotations(model.eval(), weights, frames)
            folded = gauge is not None
        if isinstance(model, HasCV):
            self.diagnostics["cv_uncertainty"] = "intrinsic and parameter" if folded else "intrinsic only"
        super().__init__(model, weights, frames, gauge)

    def __repr__(self) -> str:
        members, notes = self.weights.members, self.diagnostics
        how = f"{members} refits by {self.weights.kind!r}" if members else f"uncertainty {self.weights.kind!r}"
        data = "energies"
        if notes.get("effective_frames") and (self.model.needs_frames or self.frames is not None):
            count = "frames" if self.frames is None else f"{len(self.frames):,} frames"
            if self.model.needs_pairs and self.frames is not None:
                count = f"pairs among {count}"
            data = f"{count} worth {notes['effective_frames']:,.4g} independent ones"
        loss = f", held-out loss {notes['validation']:.4g}" if notes.get("validation") is not None else ""
        lines = [
            f"Fit of {type(self.model).__name__} (kind {self.model.kind!r}), {how}, to {data}",
            f"step {notes['best_step']:,}, the best of {notes['last_step']:,}{loss}; "
            f"{self.cost['wall_seconds']:.3g} s on {self.cost['device']}",
            *(f"warning: {words}" for words in notes.get("warnings", [])),
        ]
        return "\n  ".join(lines)

    @property
    def schedule(self) -> Schedule:
        """The one that its training began with."""
        frames = not any("beta" in row for row in self.log)  # then no temperature changed
        return self.model.schedule(self.settings["steps"], self.settings["members"], frames)

    def samples(self, count: int = SAMPLES, seed: int = 0) -> Frames:
        """What averages over the system are made of: the frames, or `count` reweighted draws of the fit's own.

        The latter are those of a model that learned from energies (:func:`bayescg.analysis.reweighted`).

        Parameters
        ----------
        count, seed : int
            Of the draws.

        Raises
        ------
        DataError
            The model learned from frames, which are not at hand: a fit that was loaded has none.
        """
        if not self.model.needs_frames:
            return reweighted(self, count, seed)
        if self.frames is None:
            raise DataError("this fit was loaded without the frames that it was trained on; give them as frames=")
        return self.frames

    def sample_path(
        self, x0: Any, steps: int, draws: int | None = None, seed: int = 0, system: System | None = None
    ) -> Frames:
        r"""Trajectories of a kernel that was learned: of :class:`bayescg.models.ReversibleDeepMSM` with a generator.

        Parameters
        ----------
        x0 : Frames, Tensor or ndarray
            Where trajectories begin, one at each: positions ``(n, atoms, 3)`` in nm, or ``(n, dim)``. Of a fit that
            was loaded Frames, as nothing else says their unit, topology and temperature.
        steps : int
            Of the lag time.
        draws : int, optional
            So many draws of the posterior, each with trajectories of its own, are told apart by analyses of the
            frames; None: the trained values.
        seed : int
        system : System, optional
            Steps are accepted with probability :math:`\min\{1, e^{-\beta U(y)} \mu(x) / (e^{-\beta U(x)} \mu(y))\}`, so
            that the trajectories keep the system's Boltzmann distribution in place of the model's :math:`\mu`; those
            that are not make them slower. ``provenance["acceptance"]`` is a score of the model. Its temperature is the
            frames'; without a system they have that of the training.

        Returns
        -------
        Frames
            Trajectory by trajectory, draw by draw, the first frame of each one step after its start.

        Raises
        ------
        ModelError
            The model has no transitions, or the fit no parameter uncertainty to draw from.
        ConfigError
            There are not so many refits; the system is none, or of another number of coordinates.
        DataError
            The starts are no configurations of the model's, or so far from all that it learned of that they have no
            density.
        """
        return sampled_path(self.model, self.weights, self.frames, x0, steps, draws, seed, system)

    def posterior(
        self, draws: int | None = None, seed: int = 0, frames: Frames | None = None, subset: int = 200
    ) -> xr.DataTree:
        """Draws with named dimensions, for `arviz_stats` and `arviz_plots`.

        Groups: ``posterior`` (the random parameters; ``cv``), ``posterior_predictive`` and ``observed_data`` (``x``),
        ``constant_data`` (``weight``, where frames have weights), ``log_likelihood`` (log p(x) of each frame with the
        latent variables integrated out). A draw is one in every group. Attributes say how many ``frames`` there were
        and their ``statistical_inefficiency``. The log likelihood serves leave-one-out scores, and is left out where
        these would be wrong, the attribute ``no_log_likelihood`` saying why: of correlated or weighted frames, fewer
        than 100 refits or repeated ones, Laplace posteriors and models that are not of kind "evidence". Compare those
        with :func:`bayescg.analysis.compare`.

        An ensemble or bootstrap has as many draws of the parameters as refits. More `draws` repeat them, with new
        random numbers for ``cv`` and ``posterior_predictive``; the coordinate ``refit`` of the dimension ``draw`` says
        which refit a draw is. What counts draws as independent (effective sample size, Monte Carlo error) is right
        only where none is repeated, as by default. PSIS-LOO wants many draws that differ: ArviZ refuses 19 of them; use
        ``"mean-field"``, or `log_density` of frames that were held out.

        Parameters
        ----------
        draws : int, optional
            None: every refit once, else 500.
        seed : int
        frames : Frames, optional
            The frames to look at; None: those of the fit, which one that was loaded does not have (a warning).
        subset : int
            At most so many frames, evenly spaced; the coordinate ``frame`` says which.
        """
        return posterior_tree(self, draws, seed, frames, subset)

    def log_csv(self) -> str:
        """The loss log as CSV, in nats per frame: `loss` holds the prior, `training` and `validation` do not."""
        stream = io.StringIO()
        fields = ["step", "loss", "training", "validation"]
        fields += sorted({key for row in self.log for key in row} - {*fields})
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

    def transferred(self, model: Model) -> Fit:
        """The same parameters, and draws of them, in another model that has such: of another number of particles, say.

        It has no frames: what it was trained on are others.

        Parameters
        ----------
        model : Model
            ``fit.model.of(...)`` of a :class:`bayescg.models.NeuralPotential`, for one.

        Raises
        ------
        ModelError
            The model has other parameters.
        """
        model, mine = fresh_copy(model), self.model.state_dict()
        if {k: v.shape for k, v in model.state_dict().items()} != {k: v.shape for k, v in mine.items()}:
            raise ModelError(f"this {type(model).__name__} has other parameters than the {type(self.model).__name__}")
        model.to(self.device).load_state_dict(mine)
        configured = {k: v for k, v in model.named_buffers() if k not in mine}
        weights = replace(self.weights, point={**self.weights.point, **configured})
        return Fit(model, weights, self.settings, dict(self.diagnostics), self.cost, self.log)

    def save(self, directory: str | Path) -> None:
        """Write the fit to a directory: safetensors + JSON.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        record = {"settings": self.settings, "diagnostics": self.diagnostics, "cost": self.cost, "log": self.log}
        write_fit(Path(directory), self, record)

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


@contextmanager
def warned_if_failing(what: str, warned: list[str]) -> Iterator[None]:
    """Around what only describes a fit: that it fails is told in its warnings, and costs no fit."""
    try:
        yield
    except Interrupted:
        raise
    except Exception as error:  # a model's author's programs may raise anything
        warned.append(f"{what} could not be computed: {type(error).__name__}: {error}")
