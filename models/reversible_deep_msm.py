"""Reversible deep Markov state model: soft states, and the reversible jumps between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_counts, check_positive, widths
from bayescg.data import Pairs, toy_jumps
from bayescg.features import Features, UnboundedCoordinates
from bayescg.modelling import Batch, StatesModel


class ReversibleDeepMSM(StatesModel):
    r"""Reversible deep Markov state model (after Wu, Mardt, Pasquali, Noé 2018; Mardt, Pasquali, Noé, Wu 2020).

    A frame belongs to each of m states with probability :math:`\chi_i(x)`; pairs of states jump, and each state stands
    for the part :math:`\mu \chi_i / c_i` of the equilibrium density :math:`\mu`:

    .. math:: p(y \mid x) = \mu(y)\, \chi(x)^T S\, \chi(y), \qquad
              S = \mathrm{diag}(c)^{-1}\, Y\, \mathrm{diag}(c)^{-1}, \qquad c = \langle \chi \rangle_\mu

    with a symmetric joint Y of positive entries and row sums c. It is normalised, positive and in detailed balance by
    construction. The log score of a pair is :math:`\log \chi(x)^T S \chi(y)`, relative to :math:`\mu(y)`, and at most
    :math:`-\log \min c`: a number that says what the pair's states know of each other.

    Y is K = exp(`log_joint`), its entries :math:`K_{ij} \sim \Gamma(a, a)`, with rows and columns scaled to the sums c
    by 40 symmetric Sinkhorn sweeps (`residual` says how far off the last one left them). In training c is that of the
    batch, whose frames the loss thereby couples; afterwards, in `occupation`, that of all training pairs.

    **Two spectra.** `eigenvalues` are those of the model's own transfer operator. With few states or a short lag they
    are too small, because a soft state forgets where in it a frame was. The eigenproblem in its states as a `basis`
    (:func:`bayescg.analysis.spectrum`) has a far smaller error. Take timescales from there, and the number of states
    from the log score of pairs that were held out (`Fit.log_density`); states that training leaves empty
    (`occupation`) add nothing to it.

    **Trajectories.** With ``generator="flow"`` each state is a density of configurations, too, a Gaussian that a flow
    bends (:class:`bayescg.nets.SplineFlow`), over flat coordinates, or bonds, angles and torsions of a molecule:

    .. math:: p(x, y) = \sum_{ij} Y_{ij}\, q_i(x)\, q_j(y), \qquad \mu = \sum_i c_i q_i, \qquad
              p(y \mid x) = \sum_{ij} \frac{c_i q_i(x)}{\mu(x)} \frac{Y_{ij}}{c_i}\, q_j(y)

    This is the kernel above, normalised, in detailed balance whatever has been learned, and drawn from state by state
    (`Fit.sample_path`). Without features the states are where their densities are, :math:`\chi_i = c_i q_i / \mu`, and
    all maximise :math:`\log p(x, y)`. With features the network's :math:`\chi` are learned as without a generator: a
    rare state would follow density, not dynamics. The densities then follow the states and move none, by the evidence
    of softly labelled frames, :math:`\sum_j \chi_j(x) \log q_j(x)`, one j drawn for each of 128 frames of a batch.
    In batches without several frames of the rarest state its jumps seem faster than they are.

    Parameters
    ----------
    features : Features or None
        What of a configuration is read; None for its flat coordinates.
    states : int
        Number m of states.
    hidden : sequence of int
        Widths of the hidden layers of :math:`\chi`.
    concentration : float
        Shape and rate a of the prior.
    generator : {None, "flow"}
        What the configurations of a state come from. ``bcg.fit`` then trains no refits unless asked to.
    layers, bins : int
        Of the flow: coupling layers, each with networks of the widths `hidden`, and bins of their splines.
    coordinates : UnboundedCoordinates, optional
        What the flow is over; by default those of the training frames, where these are a molecule's.
    dim, lag, rank : optional
        Number of coordinates, lag time and number of whitened features; taken from the training pairs when absent.

    References
    ----------
    H. Wu, A. Mardt, L. Pasquali, F. Noé, "Deep generative Markov state models", NeurIPS 2018, eq. (2);
    arXiv:1805.07601. A. Mardt, L. Pasquali, F. Noé, H. Wu, "Deep learning Markov and Koopman models with physical
    constraints", PMLR 107, 451 (2020), section 3; arXiv:1912.07392. P. A. Knight, D. Ruiz, B. Uçar, "A symmetry
    preserving algorithm for matrix scaling", SIAM J. Matrix Anal. Appl. 35, 931 (2014).

    Examples
    --------
    >>> model, pairs, _ = ReversibleDeepMSM.example()
    >>> model.setup(pairs)
    >>> chi = model.basis(torch.as_tensor(pairs.frames.positions))
    >>> chi.shape, torch.allclose(chi.sum(1), torch.ones(len(chi)))
    (torch.Size([200, 2]), True)
    """

    additive = False
    minimum_batch = 32
    pair_density = "equilibrium"
    uncertainty = "bootstrap"
    citation = "Mardt, Pasquali, Noé, Wu, PMLR 107, 451 (2020), arXiv:1912.07392; Wu et al., NeurIPS 2018"

    def __init__(
        self,
        features: Features | None = None,
        states: int = 4,
        hidden: Sequence[int] = (32, 32),
        concentration: float = 1.0,
        generator: str | None = None,
        layers: int = 6,
        bins: int = 8,
        coordinates: UnboundedCoordinates | None = None,
        dim: int | None = None,
        lag: float | None = None,
        rank: int | None = None,
    ):
        super().__init__()
        check_counts(states=(states, 2), layers=(layers, 1), bins=(bins, 2))
        check_positive(concentration=concentration)
        self.states, self.hidden, self.concentration = states, widths(hidden), float(concentration)
        self.layers, self.bins = layers, bins
        self.begin_states(features, generator, coordinates, dim, lag, rank)

    def build(self, size: int) -> None:
        """The states of a frame, the unscaled joint, occupations, and densities where their coordinates are known."""
        if self.reads:
            self.net = nets.SoftStates(size, self.states, self.hidden)
        self.log_joint = nn.Parameter(torch.zeros(self.states * (self.states + 1) // 2))
        self.register_buffer("occupation", torch.full((self.states,), 1 / self.states))
        if self.generated is not None:
            sizes: Any = {"layers": self.layers, "bins": self.bins, "hidden": self.hidden}
            self.densities = nets.StateDensities(self.states, self.generated, self.coordinates, **sizes)

    def model(self, batch: Batch) -> None:
        """K ~ Gamma(a, a); y ~ mu(y) chi(x)^T S chi(y), up to the density mu(y); where states are, in training."""
        log_joint = pyro.sample("log_joint", nets.log_gamma(self.concentration)(self.log_joint))
        log_k = nets.symmetric_matrix(log_joint, self.states)
        with batch.plate("frames"):
            if self.generator is not None and batch.x is None:
                pyro.sample("x", self.densities.equilibrium(self.equilibrium_joint(log_joint)))
                return
            (x, u), (y, v) = self.split(batch.x), self.split(batch.y)
            if not self.reads:
                pyro.factor("pairs", self.densities.log_pairs(u, v, nets.log_free_joint(log_k), not self.training))
                return
            now, later = self.net(x).log_softmax(-1), self.net(y).log_softmax(-1)
            log_c = nets.log_occupation(now, later, batch.weight) if self.training else self.occupation.log()
            pyro.factor("pairs", nets.log_score(now, later, nets.log_kernel(log_k, log_c)))
            if self.generator is not None and self.training:
                pyro.factor("generator", self.densities.of_drawn(now.exp().detach(), u))

    def guide(self, batch: Batch) -> None:
        """The hidden states of a pair are summed in closed form."""

    def joint(self, c: Tensor, log_joint: Tensor | None = None) -> Tensor:
        """Y: how often which states follow each other, ``(states, states)``, symmetric, of row sums `c`."""
        return self.kernel(c, log_joint) * c[:, None] * c

    def kernel(self, c: Tensor, log_joint: Tensor | None = None) -> Tensor:
        """S: the probability of a later state over that of its being there at all, ``(states, states)``."""
        log_k = nets.symmetric_matrix(self.log_joint if log_joint is None else log_joint, self.states)
        return nets.log_kernel(log_k, c.log()).exp()

    def equilibrium_joint(self, log_joint: Tensor | None = None) -> Tensor:
        """Y of the occupations, symmetric and of sum 1 to the last digit."""
        return nets.evened(self.joint(self.occupation, log_joint))

    def residual(self) -> float:
        """Largest relative error of a row sum of Y after the last sweep."""
        return float((self.joint(self.occupation).sum(1) / self.occupation - 1).abs().max().detach())

    def eigenvalues(self, x: Tensor) -> Tensor:
        """Of the model's own transfer operator on frames ``(n, ...)``, descending, without the 1 of equilibrium."""
        chi = self.basis(x).detach().double()
        return nets.transfer_eigenvalues(chi, self.kernel(chi.mean(0), self.log_joint.detach().double()))

    def basis(self, x: Tensor) -> Tensor:
        """Probabilities ``(n, states)`` of the states at positions ``(n, atoms, 3)`` or ``(n, dim)``; they sum to 1."""
        return self.logits(x).softmax(-1)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The state of a configuration, one of m: batch shape ``(n,)``, event shape ``(states,)``; its mean is chi."""
        return torch.distributions.OneHotCategorical(logits=self.logits(x))

    @torch.no_grad()
    def finish(self, frames: Pairs, weight: Tensor) -> None:
        """Take the occupations from all training pairs, so that the density is normalised on them.

        A refit's own weights of the pairs are what its populations spread by.
        """
        if not self.reads:
            log_k = nets.symmetric_matrix(self.log_joint, self.states)
            self.occupation.copy_(torch.logsumexp(nets.log_free_joint(log_k), 1).exp())
            return
        total = self.occupied(frames, weight)
        self.occupation.copy_((total / total.sum()).clamp_min(1e-30))  # no frame may be left of a state

    def reset(self) -> None:
        """Draw fresh weights; the states start out as clusters that mostly keep their frames."""
        super().reset()
        with torch.no_grad():
            self.log_joint.copy_(2.0 * torch.eye(self.states)[*torch.tril_indices(self.states, self.states)])

    @classmethod
    def example(cls) -> tuple[ReversibleDeepMSM, Any, None]:
        """Two states, and now and then a jump."""
        return cls(states=2, hidden=(8,)), toy_jumps().lagged(1.0), None
