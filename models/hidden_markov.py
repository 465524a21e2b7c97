"""Hidden Markov model: a few hidden states in reversible exchange, of which what is observed tells only in part."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_numbers, check_positive
from bayescg.data import Frames, Stretches
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features, features_from_config
from bayescg.modelling import Batch, Model, check_features

_CHUNK = 65_536
_WINDOWS = (3, 10)
"""Times before and after, over which what is observed is averaged where a search begins."""
_LEAST = 0.1
"""Of the curvature that the prior of a state without frames has."""


class HiddenMarkov(Model):
    r"""Projected Markov model: hidden states z, and what each of them shows (Noé, Wu, Prinz, Plattner 2013).

    A few metastable states exchange reversibly, and a frame x, or the cell of a discretisation that it is in, depends
    on the present state alone:

    .. math:: p(x_1, \dots, x_L) = \sum_{z_1, \dots, z_L} c_{z_1} q_{z_1}(x_1)
              \prod_{t > 1} T_{z_{t-1} z_t} q_{z_t}(x_t), \qquad T = \mathrm{diag}(c)^{-1} Y, \quad c = Y 1

    with a symmetric joint Y of positive entries. Up to its sum Y has Gamma variates a priori, and the cells of each
    state a Dirichlet distribution. The sum over paths is made in closed form. A Markov state model of cells that cut
    across states needs a lag after which all within them is forgotten; this one needs a lag that is long against what
    happens within hidden states. Timescales are those of T (:func:`bayescg.analysis.hidden_states`). Choose the number
    of states by the log score of stretches that were held out (:func:`bayescg.analysis.compare`), not by timescales.

    Trajectories are cut in stretches, which are taken for independent, and of a lag of several frames every shift
    counts, by its part. The parameters are those of largest posterior density: uphill along the expected numbers of
    steps between hidden states, in the metric of known ones. Intervals are those of refits under random weights of
    stretches: real dynamics is no hidden Markov chain, of which a posterior would be too sure.

    Parameters
    ----------
    features : Features or None
        What of a configuration is read; None for its flat coordinates.
    states : int
        Number m of hidden states. There may be more of them than cells.
    cells : None, "labels", sequence of float, or callable
        The cell of a frame: its label (`Frames.labels`); or where the only feature lies between these edges; or what a
        function makes of positions, whole numbers ``(n,)``, which a file does not keep. Negative ones: not known. None:
        there are no cells, and every hidden state shows features as independent Gaussians.
    lag : float, optional
        Default: the time between frames.
    stretch : int
        Frames of a stretch, about: several relaxations.
    equilibrium : bool
        Whether stretches begin at equilibrium, with the probabilities c; else with any, as those of trajectories do
        that were begun somewhere. Then let `stretch` be as long as trajectories are.
    concentration : float, optional
        Shape and rate of the Gamma variates. Default: 1 / m.
    alphabet, dim : int, optional
        Number of cells, and of features where there are none; the training frames tell.

    References
    ----------
    F. Noé, H. Wu, J.-H. Prinz, N. Plattner, "Projected and hidden Markov models for calculating kinetics and metastable
    states of complex molecules", J. Chem. Phys. 139, 184114 (2013). L. R. Rabiner, Proc. IEEE 77, 257 (1989).

    Examples
    --------
    >>> model, stretches, _ = HiddenMarkov.example()
    >>> model.setup(stretches)
    >>> model.joint().sum().round(decimals=6)
    tensor(1., dtype=torch.float64, grad_fn=<RoundBackward1>)
    """

    kind = "generalised"
    uncertainty = "bootstrap"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 1, "batch_size": 16, "validation": 0.0}
    citation = "Noé, Wu, Prinz, Plattner, J. Chem. Phys. 139, 184114 (2013), doi:10.1063/1.4828816"
    begins: Tensor

    def __init__(
        self,
        features: Features | None = None,
        states: int = 4,
        cells: str | Sequence[float] | Callable[[Tensor], Tensor] | None = None,
        lag: float | None = None,
        stretch: int = 200,
        equilibrium: bool = True,
        concentration: float | None = None,
        alphabet: int | None = None,
        dim: int | None = None,
    ):
        super().__init__()
        check_features(features)
        sizes = {"alphabet": alphabet, "dim": dim}
        check_flags(equilibrium=equilibrium)
        check_counts(states=(states, 1), stretch=(stretch, 3), **{k: (v, 1) for k, v in sizes.items() if v is not None})
        check_positive(**{k: v for k, v in (("lag", lag), ("concentration", concentration)) if v is not None})
        if cells is None and alphabet is not None:
            raise ConfigError(f"alphabet={alphabet} is a number of cells: give cells=, too, or leave it out")
        self.features, self.states, self.lag, self.stretch = features, states, lag, stretch
        self.alphabet, self.dim = alphabet, dim
        self.cells: Any = _cells(cells)
        self.equilibrium, self.concentration = equilibrium, concentration
        if isinstance(self.cells, list):
            self.alphabet = len(self.cells) + 1
        if features is not None:
            self.dim = features.size
        if (self.alphabet if self.cells is not None else self.dim) is not None:
            self._build()

    def _build(self) -> None:
        m = self.states
        self.log_joint = nn.Parameter(torch.zeros(m * (m + 1) // 2))
        if not self.equilibrium:
            self.log_first = nn.Parameter(torch.zeros(m))
        if self.cells is None:
            self.scale = nets.Standardise(self.dim or 1)
            self.emission: Any = nets.GaussianEmissions(m, self.dim or 1)
        else:
            self.emission = nets.CellEmissions(m, self.alphabet or 1)
        self.register_buffer("begins", parameters_to_vector(self.parameters()).detach())

    @property
    def _shape(self) -> float:
        return 1.0 / self.states if self.concentration is None else self.concentration

    @property
    def priors(self) -> dict[str, Callable[[Tensor], Any]]:
        """Of parameters, by the last part of their names."""
        chances = dict.fromkeys(("log_joint", "log_first", "log_share"), nets.log_gamma(self._shape))
        return {**chances, "mean": nets.gaussian(3.0), "log_width": nets.gaussian(2.0)}

    @property
    def density_of(self) -> str:
        """What the log density of a stretch is one of."""
        return "stretches of features" if self.cells is None else f"stretches of cells {self.cells}"

    def rows(self, frames: Any) -> Stretches:
        """Stretches of trajectories.

        Raises
        ------
        DataError
            These are no frames of trajectories, they have no labels, or no trajectory is three frames a lag apart long.
        """
        if not isinstance(frames, Frames | Stretches):
            what = type(frames).__name__
            raise DataError(f"HiddenMarkov learns from trajectories, not from {what}: give it the frames themselves")
        if isinstance(frames, Frames):
            frames = frames.stretches(self.lag, self.stretch)
        if frames.length < 3:
            raise DataError(
                f"no trajectory is longer than two lag times of {frames.lag:g}, without which nothing tells hidden "
                "states from what is observed: use a shorter lag, or longer trajectories"
            )
        if self.cells != "labels":
            return frames
        if (labels := frames.frames.labels) is None:
            raise DataError('the frames have no labels for cells="labels": give Frames.from_numpy(..., labels=...)')
        return replace(frames, frames=replace(frames.frames, positions=np.asarray(labels, np.float64)[:, None]))

    def inputs(self, x: Tensor) -> Tensor:
        """Cells ``(n, 1)`` of positions, NaN where they are not known; or standardised features ``(n, dim)``.

        Raises
        ------
        DataError
            A cell is none of the training frames', or edges divide one of several features.
        """
        if callable(self.cells):
            cell = torch.as_tensor(self.cells(x)).reshape(len(x), -1).to(x.dtype)
        else:
            cell = x.flatten(1) if self.features is None else self.features(x)
        if self.cells is None:
            if self.dim is not None and cell.shape[1] != self.dim:
                raise DataError(f"this HiddenMarkov reads {self.dim} features, these frames have {cell.shape[1]}")
            return self.scale(cell) if self.dim is not None else cell
        if cell.shape[1] != 1:
            raise DataError(f"cells are of one number, and these frames have {cell.shape[1]}: give features= of size 1")
        if isinstance(self.cells, list):
            return torch.bucketize(cell, torch.as_tensor(self.cells).to(cell)).to(cell)
        if self.alphabet is not None and bool((cell >= self.alphabet).any()):
            raise DataError(
                f"cell {int(cell.max())} is none of the {self.alphabet} that the model knows: give alphabet=, or train "
                "it on frames that are in all cells"
            )
        return torch.where(cell < 0, torch.nan, cell)

    def joint(self) -> Tensor:
        """Y: how often which hidden states follow each other, ``(states, states)``, symmetric, of sum 1."""
        k = self.log_joint[nets.symmetric_places(self.states)]
        return (k - k.flatten().logsumexp(0)).exp()

    def shown(self) -> Tensor:
        """Probabilities ``(states, cells)`` with which hidden states show cells, or means of standardised features."""
        with torch.no_grad():
            return self.emission.mean.detach() if self.cells is None else self.emission.log_share.softmax(1)

    def chain(self, log_joint: Tensor, log_first: Tensor | None) -> tuple[Tensor, Tensor]:
        """Log probabilities of the first hidden state ``(m,)``, and of a later one after an earlier one ``(m, m)``."""
        k = log_joint[nets.symmetric_places(self.states)]
        rows = k.logsumexp(1)
        return (rows if log_first is None else log_first).log_softmax(0), k - rows[:, None]

    def model(self, batch: Batch) -> None:
        """Y, q ~ Gamma; x ~ the sum over hidden paths."""
        log_joint = pyro.sample("log_joint", self.priors["log_joint"](self.log_joint))
        log_first = None
        if not self.equilibrium:
            log_first = pyro.sample("log_first", self.priors["log_first"](self.log_first))
        emission = nets.random_net(self, "emission", self.priors)
        paths = nets.log_forward(*self.chain(log_joint, log_first), emission(batch.x))
        with batch.plate("frames"):
            pyro.factor("paths", paths - self._log_unit(batch.x))

    def _log_unit(self, x: Any) -> Tensor | float:
        """Log of the volume of features in that of standardised ones, of all that were observed in a stretch."""
        return (~x.isnan() * self.scale.width.log()).sum((1, 2)) if self.cells is None else 0.0

    def guide(self, batch: Batch) -> None:
        """The hidden states are summed in closed form."""

    def paths(self, x: Tensor, weight: Tensor) -> nets.HiddenPaths:
        """What hidden paths behind stretches ``(n, length, size)``, each of some weight ``(n,)``, hold."""
        return nets.hidden_paths(*self._chain(), self.emission(x), weight)

    def setup(self, stretches: Stretches) -> None:
        """Take the lag, cells or scales, and the best of several searches, the most probable hidden state first.

        Raises
        ------
        DataError
            A label is no whole number, or larger than there are frames, or all frames are in one cell.

        Warns
        -----
        UserWarning
            Some cells are never visited.
        """
        self.lag = stretches.lag
        if self.features is not None:
            self.features.check_frames(stretches.frames)
        x = self.observed(stretches)
        if self.cells is None:
            values = x[~x.isnan().any(2)]
            self.dim = x.shape[2]
            self._build()
            self.scale.set(values.mean(0), values.std(0, correction=0))
            x = self.scale(x)
        else:
            self._check_cells(x)
        self.double()
        where = nets.cell_coordinates(x, self.alphabet) if self.alphabet is not None else x
        weight = torch.full((len(x),), 1 / stretches.overlap, dtype=torch.float64)
        searches = []
        for window in _WINDOWS if self.states > 1 else _WINDOWS[:1]:
            self._begin(x, nets.first_states(where, self.states, window))
            searches.append(self._climb(x, weight, rounds=1))
        self._take(max(searches, key=lambda search: search[1])[0])
        self._take(self._climb(x, weight)[0])
        self._sort()
        self.begins.copy_(parameters_to_vector(self.parameters()).detach())

    def _check_cells(self, x: Tensor) -> None:
        cell = x[~x.isnan()]
        if len(cell) == 0 or bool((cell != cell.round()).any()):
            raise DataError("cells are whole numbers, from zero on; negative ones are not known, and some must be")
        if bool((cell == cell[0]).all()):
            raise DataError(
                f"all frames are in cell {int(cell[0])}, which tells nothing of hidden states: give cells that divide "
                "the frames"
            )
        if self.alphabet is None:
            if cell.max() >= len(cell):
                raise DataError(
                    f"a frame is in cell {int(cell.max())}, of only {len(cell)} frames in cells: number cells from "
                    "zero on, as numpy.unique(labels, return_inverse=True) does"
                )
            self.alphabet = int(cell.max()) + 1
            self._build()
        empty = np.flatnonzero(np.bincount(cell.long().numpy(), minlength=self.alphabet) == 0)
        if len(empty):
            warnings.warn(
                f"{len(empty)} of {self.alphabet} cells are never visited (the first: {empty[:5].tolist()}): what is "
                "said of them is the prior's",
                stacklevel=3,
            )

    def observed(self, stretches: Stretches) -> Tensor:
        """Inputs of all stretches, ``(n, length, size)``; NaN after their ends."""
        frames = stretches.frames
        parts = [
            self.inputs(torch.as_tensor(frames.gather(slice(start, start + _CHUNK))).double())
            for start in range(0, len(frames), _CHUNK)
        ]
        return stretches.arranged(torch.cat(parts))

    def solve(self, stretches: Stretches, weight: Tensor) -> None:
        """Take the parameters of largest posterior density, uphill from those of all stretches.

        Warns
        -----
        UserWarning
            They were not found.
        """
        self._take(self.begins.double().cpu().numpy())
        place, _, converged = self._climb(self.observed(stretches), weight.double())
        self._take(place)
        if not converged:
            words = "the parameters of largest posterior density were not found: use fewer states, or more frames"
            warnings.warn(words, stacklevel=2)

    def _begin(self, x: Tensor, labels: Tensor) -> None:
        """Parameters where hidden states are these labels ``(n, length)``."""
        m, both = self.states, (labels[:, 1:] >= 0) & (labels[:, :-1] >= 0)
        steps = torch.bincount(labels[:, :-1][both] * m + labels[:, 1:][both], minlength=m * m).reshape(m, m)
        rows, columns = torch.tril_indices(m, m)
        joint = (steps + steps.T + 1.0).to(self.log_joint)
        present = labels >= 0
        with torch.no_grad():
            self.log_joint.copy_((joint / joint.mean()).log()[rows, columns])
            if not self.equilibrium:
                self.log_first.zero_()
        self.emission.begin(x[present], torch.nn.functional.one_hot(labels[present], m).to(x))

    def _climb(self, x: Tensor, weight: Tensor, rounds: int = 12) -> tuple[np.ndarray, float, bool]:
        """Uphill from the present parameters: place, log posterior density, and whether the search came to its end."""
        parameters, present, priors = list(self.parameters()), ~x.isnan().any(2), self.priors

        def slope(place: np.ndarray) -> tuple[float, np.ndarray]:
            self._take(place)
            with torch.enable_grad():
                log_start, log_step = self._chain()
                paths = nets.hidden_paths(log_start, log_step, self.emission(x).detach(), weight)
                densities = [priors[n.rpartition(".")[2]](p).log_prob(p) for n, p in self.named_parameters()]
                prior = torch.stack(densities).sum()
                expected = (paths.starts * log_start).sum() + (paths.steps * log_step).sum() + prior
                expected = expected + self.emission.expected(x, weight[:, None, None] * paths.states)
                gradient = torch.autograd.grad(expected, parameters)
            return float(weight @ paths.log_p + prior.detach()), _flat(gradient)

        def metric(place: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            self._take(place)
            with torch.no_grad():
                paths, least = self.paths(x, weight), _LEAST * self._shape
                root = nets.joint_root(self.log_joint, paths.steps, self._shape, least).cpu().numpy()
                visits = weight[present.nonzero()[:, 0]] @ paths.states[present]
                others = [] if self.equilibrium else [weight.sum() * self.log_first.softmax(0)]
                spread = (torch.cat([*others, self.emission.curvature(visits)]) + least).rsqrt().cpu().numpy()
            return lambda z: np.r_[root @ z[: len(root)], spread * z[len(root) :]]

        return nets.climb(slope, metric, _flat(parameters), rounds)

    def _chain(self) -> tuple[Tensor, Tensor]:
        return self.chain(self.log_joint, None if self.equilibrium else self.log_first)

    def _take(self, place: np.ndarray) -> None:
        vector_to_parameters(torch.tensor(place).to(self.log_joint), self.parameters())

    def _sort(self) -> None:
        """The most probable hidden state first."""
        with torch.no_grad():
            order = self.joint().sum(1).argsort(descending=True)
            joint = self.log_joint[nets.symmetric_places(self.states)][order][:, order]
            self.log_joint.copy_(joint[*torch.tril_indices(self.states, self.states)])
            for p in [*self.emission.parameters(), *([] if self.equilibrium else [self.log_first])]:
                p.copy_(p[order].clone())

    def reset(self) -> None:
        """Draw fresh parameters; `solve` begins where `setup` ended, whatever they are."""
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(std=0.3)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model; a function from positions to cells apart: give `Fit.load` the model then."""
        features = None if self.features is None else self.features.config()
        cells = type(self.cells).__name__ if callable(self.cells) else self.cells
        return {**self.arguments("features", "cells"), "features": features, "cells": cells}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if config["cells"] not in (None, "labels") and not isinstance(config["cells"], list):
            raise ConfigError(
                f"its cells are those of a {config['cells']} of your own: make the model with it again, "
                "HiddenMarkov(cells=...), and give it to Fit.load(directory, model=...)"
            )
        features = config["features"]
        return cls(**{**config, "features": None if features is None else features_from_config(features)})

    def completed(self, config: dict[str, Any]) -> HiddenMarkov:
        """With the number of cells and the lag that the fit was trained on."""
        sizes = {name: config[name] for name in ("alphabet", "dim", "lag")}
        return HiddenMarkov(
            **{**self.arguments("features", "cells"), **sizes, "features": self.features, "cells": self.cells}
        )

    @classmethod
    def example(cls) -> tuple[HiddenMarkov, Any, None]:
        """Two hidden states, each seen in the wrong one of two cells now and then."""
        generator = torch.Generator().manual_seed(0)
        jumps, mistaken = (
            torch.where(torch.rand(800, 1, generator=generator) < share, -1.0, 1.0) for share in (0.2, 0.05)
        )
        x = (jumps.cumprod(0) * mistaken).numpy()
        frames = Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)
        model = cls(states=2, cells=[0.0], stretch=50)
        return model, model.rows(frames), None


def _flat(tensors: Any) -> np.ndarray:
    return parameters_to_vector(tensors).detach().double().cpu().numpy()


def _cells(cells: Any) -> Any:
    """None, ``"labels"``, edges as a list, or a function."""
    if cells is None or cells == "labels" or callable(cells):
        return cells
    if isinstance(cells, str) or not isinstance(cells, Sequence | np.ndarray):
        raise ConfigError(
            f'cells={cells!r} must be None, "labels", edges between cells such as [-1.0, 1.0], or a function from '
            "positions to whole numbers (n,)"
        )
    check_numbers(**{f"cells[{k}]": (edge, "(-inf, inf)") for k, edge in enumerate(cells)})
    edges = [float(edge) for edge in cells]
    if len(edges) < 1 or sorted(set(edges)) != edges:
        raise ConfigError(f"cells={edges}: edges between cells rise, and there is one at least")
    return edges
