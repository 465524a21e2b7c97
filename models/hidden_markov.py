"""Hidden Markov model: a few hidden states in reversible exchange, of which what is observed tells only in part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pyro
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_positive, stated
from bayescg.data import Stretches, toy_telegraph
from bayescg.features import Features
from bayescg.modelling import Batch, StretchModel


class HiddenMarkov(StretchModel):
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
    emission: Any

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
        check_flags(equilibrium=equilibrium)
        check_counts(states=(states, 1))
        check_positive(**stated(concentration=concentration))
        self.states, self.equilibrium, self.concentration = states, equilibrium, concentration
        self.begin_stretches(features, cells, lag, stretch, alphabet, dim)

    def build(self, size: int) -> None:
        """Y, and what each hidden state shows."""
        m = self.states
        self.log_joint = nn.Parameter(torch.zeros(m * (m + 1) // 2))
        self.log_first = None if self.equilibrium else nn.Parameter(torch.zeros(m))
        self.emission = nets.GaussianEmissions(m, size) if self.cells is None else nets.CellEmissions(m, size)
        self.register_buffer("begins", parameters_to_vector(self.parameters()).detach())

    @property
    def priors(self) -> dict[str, Callable[[Tensor], Any]]:
        """Of parameters, by the last part of their names."""
        chances = dict.fromkeys(("log_joint", "log_first", "log_share"), nets.log_gamma(self._shape))
        return {**chances, "mean": nets.gaussian(3.0), "log_width": nets.gaussian(2.0)}

    @property
    def _shape(self) -> float:
        return 1.0 / self.states if self.concentration is None else self.concentration

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
        if self.log_first is not None:
            log_first = pyro.sample("log_first", self.priors["log_first"](self.log_first))
        emission = nets.random_net(self, "emission", self.priors)
        paths = nets.log_forward(*self.chain(log_joint, log_first), emission(batch.x))
        with batch.plate("frames"):
            pyro.factor("paths", paths - self.log_unit(batch.x))

    def guide(self, batch: Batch) -> None:
        """The hidden states are summed in closed form."""

    def paths(self, x: Tensor, weight: Tensor) -> nets.HiddenPaths:
        """What hidden paths behind stretches ``(n, length, size)``, each of some weight ``(n,)``, hold."""
        return nets.hidden_paths(*self._chain(), self.emission(x), weight)

    def setup(self, stretches: Stretches) -> None:
        """Take the lag, cells or scales, and the best of several searches, the most probable hidden state first."""
        x = self.take(stretches)
        weight = torch.full((len(x),), 1 / stretches.overlap, dtype=torch.float64)
        self.begins.copy_(self._search().best(x, weight, None if self.cells is None else self.alphabet))

    def solve(self, stretches: Stretches, weight: Tensor) -> None:
        """Take the parameters of largest posterior density, uphill from those of all stretches."""
        self._search().take_highest(self.begins, self.observed(stretches), weight.double())

    def _search(self) -> nets.ChainSearch:
        prior = lambda: nets.log_prior(self, self.priors)  # noqa: E731
        return nets.ChainSearch(self.log_joint, self.log_first, self.emission, self._chain, prior, self._shape)

    def _chain(self) -> tuple[Tensor, Tensor]:
        return self.chain(self.log_joint, self.log_first)

    def reset(self) -> None:
        """Draw fresh parameters; `solve` begins where `setup` ended, whatever they are."""
        with torch.no_grad():
            for p in self.parameters():
                p.normal_(std=0.3)

    @classmethod
    def example(cls) -> tuple[HiddenMarkov, Any, None]:
        """Two hidden states, each seen in the wrong one of two cells now and then."""
        model = cls(states=2, cells=[0.0], stretch=50)
        return model, model.rows(toy_telegraph()), None
