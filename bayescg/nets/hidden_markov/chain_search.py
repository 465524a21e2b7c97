"""The parameters of largest posterior density of a hidden Markov chain."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from bayescg.nets.hidden_markov.climb import climb
from bayescg.nets.hidden_markov.emissions import CellEmissions, GaussianEmissions
from bayescg.nets.hidden_markov.first_states import cell_coordinates, first_states
from bayescg.nets.hidden_markov.hidden_paths import hidden_paths
from bayescg.nets.symmetric import joint_root, symmetric_places

__all__ = ["ChainSearch"]

_WINDOWS = (3, 10)
"""Times before and after, over which what is observed is averaged where a search begins."""
_LEAST = 0.1
"""Of the curvature that the prior of a state without frames has."""


@dataclass
class ChainSearch:
    """Uphill along the expected numbers of steps between hidden states, in the metric of known ones.

    Parameters
    ----------
    log_joint : Parameter, (m (m + 1) / 2,)
        Of the joint of hidden states; it and the others are changed in place.
    log_first : Parameter, (m,), or None
        Of the first hidden states; None: these are at equilibrium.
    emission : CellEmissions or GaussianEmissions
    chain : callable
        Log probabilities of the first hidden state ``(m,)``, and of a later one after an earlier one ``(m, m)``.
    log_prior : callable
        Log density of all parameters, a priori.
    shape : float
        And rate, of the Gamma variates that the entries of the joint are.
    """

    log_joint: nn.Parameter
    log_first: nn.Parameter | None
    emission: CellEmissions | GaussianEmissions
    chain: Callable[[], tuple[Tensor, Tensor]]
    log_prior: Callable[[], Tensor]
    shape: float

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All of them, the joint's first."""
        first = [] if self.log_first is None else [self.log_first]
        return [self.log_joint, *first, *self.emission.parameters()]

    def best(self, x: Tensor, weight: Tensor, cells: int | None) -> Tensor:
        """Highest place ``(k,)`` of several searches, the most probable hidden state first; it is taken, too.

        Parameters
        ----------
        x : Tensor, (n, length, size)
        weight : Tensor, (n,)
        cells : int or None
            How many there are, where `x` are their numbers.
        """
        where, states = x if cells is None else cell_coordinates(x, cells), self.emission.states
        searches = []
        for window in _WINDOWS if states > 1 else _WINDOWS[:1]:
            self.begin(x, first_states(where, states, window))
            searches.append(self.climb(x, weight, rounds=1))
        self.take(max(searches, key=lambda search: search[1])[0])
        self.take(self.climb(x, weight)[0])
        self._sort()
        return parameters_to_vector(self.parameters).detach()

    def take(self, place: np.ndarray) -> None:
        """Set the parameters."""
        vector_to_parameters(torch.tensor(place).to(self.log_joint), self.parameters)

    def take_highest(self, begin: Tensor, x: Tensor, weight: Tensor) -> None:
        """Take the highest place uphill from one ``(k,)``; otherwise as `best`.

        Warns
        -----
        UserWarning
            It was not found.
        """
        self.take(begin.double().cpu().numpy())
        place, _, converged = self.climb(x, weight)
        self.take(place)
        if not converged:
            words = "the parameters of largest posterior density were not found: use fewer states, or more frames"
            warnings.warn(words, stacklevel=3)

    def begin(self, x: Tensor, labels: Tensor) -> None:
        """Take parameters where hidden states are these labels ``(n, length)``."""
        m, both = self.emission.states, (labels[:, 1:] >= 0) & (labels[:, :-1] >= 0)
        steps = torch.bincount(labels[:, :-1][both] * m + labels[:, 1:][both], minlength=m * m).reshape(m, m)
        rows, columns = torch.tril_indices(m, m)
        joint = (steps + steps.T + 1.0).to(self.log_joint)
        present = labels >= 0
        with torch.no_grad():
            self.log_joint.copy_((joint / joint.mean()).log()[rows, columns])
            if self.log_first is not None:
                self.log_first.zero_()
        self.emission.begin(x[present], torch.nn.functional.one_hot(labels[present], m).to(x))

    def climb(self, x: Tensor, weight: Tensor, rounds: int = 12) -> tuple[np.ndarray, float, bool]:
        """Uphill from the present parameters: place, log posterior density, and whether the search came to its end."""
        parameters, present, least = self.parameters, ~x.isnan().any(2), _LEAST * self.shape

        def slope(place: np.ndarray) -> tuple[float, np.ndarray]:
            self.take(place)
            with torch.enable_grad():
                log_start, log_step = self.chain()
                paths = hidden_paths(log_start, log_step, self.emission(x).detach(), weight)
                prior = self.log_prior()
                expected = (paths.starts * log_start).sum() + (paths.steps * log_step).sum() + prior
                expected = expected + self.emission.expected(x, weight[:, None, None] * paths.states)
                gradient = torch.autograd.grad(expected, parameters)
            return float(weight @ paths.log_p + prior.detach()), _flat(gradient)

        def metric(place: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
            self.take(place)
            with torch.no_grad():
                paths = hidden_paths(*self.chain(), self.emission(x), weight)
                root = joint_root(self.log_joint, paths.steps, self.shape, least).cpu().numpy()
                visits = weight[present.nonzero()[:, 0]] @ paths.states[present]
                others = [] if self.log_first is None else [weight.sum() * self.log_first.softmax(0)]
                spread = (torch.cat([*others, self.emission.curvature(visits)]) + least).rsqrt().cpu().numpy()
            return lambda z: np.r_[root @ z[: len(root)], spread * z[len(root) :]]

        return climb(slope, metric, _flat(parameters), rounds)

    def _sort(self) -> None:
        """The most probable hidden state first."""
        with torch.no_grad():
            joint = self.log_joint[symmetric_places(self.emission.states)]
            order = (joint - joint.flatten().logsumexp(0)).exp().sum(1).argsort(descending=True)
            self.log_joint.copy_(joint[order][:, order][*torch.tril_indices(*joint.shape)])
            for p in self.parameters[1:]:
                p.copy_(p[order].clone())


def _flat(tensors: Iterable[Tensor]) -> np.ndarray:
    return parameters_to_vector(tensors).detach().double().cpu().numpy()
