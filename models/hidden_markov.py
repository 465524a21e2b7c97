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
from torch.nn.utils import parameters_to_vector

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_positive, stated
from bayescg.data import Frames, Stretches, in_parts, toy_telegraph
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features
from bayescg.modelling import Batch, Model, check_features, not_in_a_file


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
        check_flags(equilibrium=equilibrium)
        sizes = {name: (size, 1) for name, size in stated(alphabet=alphabet, dim=dim).items()}
        check_counts(states=(states, 1), stretch=(stretch, 3), **sizes)
        check_positive(**stated(lag=lag, concentration=concentration))
        if cells is None and alphabet is not None:
            raise ConfigError(f"alphabet={alphabet} is a number of cells: give cells=, too, or leave it out")
        self.features, self.states, self.lag, self.stretch = features, states, lag, stretch
        self.equilibrium, self.concentration, self.cells = equilibrium, concentration, nets.check_cells(cells)
        self.alphabet = len(self.cells) + 1 if isinstance(self.cells, list) else alphabet
        self.dim = dim if features is None else features.size
        if (self.dim if self.cells is None else self.alphabet) is not None:
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
    def priors(self) -> dict[str, Callable[[Tensor], Any]]:
        """Of parameters, by the last part of their names."""
        chances = dict.fromkeys(("log_joint", "log_first", "log_share"), nets.log_gamma(self._shape))
        return {**chances, "mean": nets.gaussian(3.0), "log_width": nets.gaussian(2.0)}

    @property
    def _shape(self) -> float:
        return 1.0 / self.states if self.concentration is None else self.concentration

    @property
    def density_of(self) -> str:
        """What the log density of a stretch is one of."""
        return "stretches of features" if self.cells is None else f"stretches of cells {self.cells}"

    def joint(self) -> Tensor:
        """Y: how often which hidden states follow each other, ``(states, states)``, symmetric, of sum 1."""
        k = self.log_joint[nets.symmetric_places(self.states)]
        return (k - k.flatten().logsumexp(0)).exp()

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
            return nets.cells_of(torch.as_tensor(self.cells(x)).reshape(len(x), -1).to(x.dtype), None, self.alphabet)
        y = x.flatten(1) if self.features is None else self.features(x)
        if self.cells is not None:
            return nets.cells_of(y, self.cells, self.alphabet)
        if self.dim is None:
            return y
        if y.shape[1] != self.dim:
            raise DataError(f"this HiddenMarkov reads {self.dim} features, these frames have {y.shape[1]}")
        return self.scale(y)

    def observed(self, stretches: Stretches) -> Tensor:
        """Inputs of all stretches, ``(n, length, size)``; NaN after their ends."""
        return stretches.arranged(torch.cat([self.inputs(x.double()) for (x,) in in_parts(stretches.frames)]))

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
        elif (cells := nets.count_cells(x, self.alphabet)) != self.alphabet:
            self.alphabet = cells
            self._build()
        self.double()
        weight = torch.full((len(x),), 1 / stretches.overlap, dtype=torch.float64)
        self.begins.copy_(self._search().best(x, weight, None if self.cells is None else self.alphabet))

    def solve(self, stretches: Stretches, weight: Tensor) -> None:
        """Take the parameters of largest posterior density, uphill from those of all stretches.

        Warns
        -----
        UserWarning
            They were not found.
        """
        search = self._search()
        search.take(self.begins.double().cpu().numpy())
        place, _, converged = search.climb(self.observed(stretches), weight.double())
        search.take(place)
        if not converged:
            words = "the parameters of largest posterior density were not found: use fewer states, or more frames"
            warnings.warn(words, stacklevel=2)

    def _search(self) -> nets.ChainSearch:
        first = None if self.equilibrium else self.log_first
        return nets.ChainSearch(self.log_joint, first, self.emission, self._chain, self._log_prior, self._shape)

    def _chain(self) -> tuple[Tensor, Tensor]:
        return self.chain(self.log_joint, None if self.equilibrium else self.log_first)

    def _log_prior(self) -> Tensor:
        priors, named = self.priors, self.named_parameters()
        return torch.stack([priors[name.rpartition(".")[2]](p).log_prob(p) for name, p in named]).sum()

    def reset(self) -> None:
        """Draw fresh parameters; `solve` begins where `setup` ended, whatever they are."""
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(std=0.3)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if isinstance(config["cells"], str) and config["cells"] != "labels":
            raise not_in_a_file(cls, "cells", config["cells"])
        return super().from_config(config)

    def completed(self, config: dict[str, Any]) -> Self:
        """With the number of cells and the lag that the fit was trained on."""
        return self.remade(config, features=self.features, cells=self.cells)

    @classmethod
    def example(cls) -> tuple[HiddenMarkov, Any, None]:
        """Two hidden states, each seen in the wrong one of two cells now and then."""
        model = cls(states=2, cells=[0.0], stretch=50)
        return model, model.rows(toy_telegraph()), None
