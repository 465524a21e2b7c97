"""Reversible deep Markov state model: soft states, and the reversible jumps between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from bayescg import nets
from bayescg.arguments import check_choice, check_counts, check_positive, widths
from bayescg.data import Pairs, evenly, in_parts, toy_jumps
from bayescg.errors import ConfigError, ModelError
from bayescg.features import Features, UnboundedCoordinates, unbounded_coordinates
from bayescg.modelling import Batch, PairModel


class ReversibleDeepMSM(PairModel):
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
    of softly labelled frames, :math:`\sum_j \chi_j(x) \log q_j(x)`, one j drawn for each frame.

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
    occupation: Tensor

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
        check_choice(generator=(generator, (None, "flow")))
        self.states, self.hidden, self.concentration = states, widths(hidden), float(concentration)
        self.generator, self.layers, self.bins, self.coordinates = generator, layers, bins, coordinates
        if generator is not None:  # each refit would take as long again
            self.uncertainty = "none"  # type: ignore[misc]
        self.begin(features, dim, lag, rank)

    def build(self, size: int) -> None:
        """The states of a frame, the unscaled joint, occupations, and densities where their coordinates are known."""
        if self.reads:
            self.net = nets.SoftStates(size, self.states, self.hidden)
        self.log_joint = nn.Parameter(torch.zeros(self.states * (self.states + 1) // 2))
        self.register_buffer("occupation", torch.full((self.states,), 1 / self.states))
        if self.generator is not None and (self.features is None or self.coordinates is not None):
            over = self.scale.mean.numel() if self.coordinates is None else self.coordinates.size
            sizes: Any = {"layers": self.layers, "bins": self.bins, "hidden": self.hidden}
            self.densities = nets.StateDensities(self.states, over, self.coordinates, **sizes)

    def model(self, batch: Batch) -> None:
        """K ~ Gamma(a, a); y ~ mu(y) chi(x)^T S chi(y), up to the density mu(y); where states are, in training."""
        log_joint = pyro.sample("log_joint", nets.log_gamma(self.concentration)(self.log_joint))
        if self.generator is not None and batch.x is None:
            with batch.plate("frames"):
                pyro.sample("x", self.densities.equilibrium(self._joint(log_joint)))
            return
        if not self.reads:
            self._together(batch, log_joint)
            return
        now, later = (self.net(self._parts(end)[0]).log_softmax(-1) for end in (batch.x, batch.y))
        w = now.new_ones(len(now)) if batch.weight is None else batch.weight
        share = (0.5 * w / w.sum()).log().repeat(2)[:, None]
        log_c = torch.logsumexp(share + torch.cat([now, later]), 0) if self.training else self.occupation.log()
        # all in logs: next to 1 / c^2 of a state that no frame of the batch is in, nothing else would count
        ahead = torch.logsumexp(nets.log_kernel(self._unscaled(log_joint), log_c) + later[:, None], -1)
        with batch.plate("frames"):
            pyro.factor("pairs", torch.logsumexp(now + ahead, -1))
            if self.generator is not None and self.training:
                pyro.factor("generator", self.densities.of_drawn(now.exp().detach(), self._parts(batch.x)[1]))

    def _together(self, batch: Batch, log_joint: Tensor) -> None:
        """(x, y) ~ sum_ij Y_ij q_i(x) q_j(y); after training, over the product of their equilibrium densities."""
        log_y = self._log_joint(log_joint)
        now, later = (self.densities.log_prob(self._parts(end)[1]) for end in (batch.x, batch.y))
        pairs = torch.logsumexp(now + torch.logsumexp(log_y + later[:, None], -1), -1)
        if not self.training:
            log_c = torch.logsumexp(log_y, 1)
            pairs = pairs - torch.logsumexp(log_c + now, -1) - torch.logsumexp(log_c + later, -1)
        with batch.plate("frames"):
            pyro.factor("pairs", pairs)

    def guide(self, batch: Batch) -> None:
        """The hidden states of a pair are summed in closed form."""

    def joint(self, c: Tensor, log_joint: Tensor | None = None) -> Tensor:
        """Y: how often which states follow each other, ``(states, states)``, symmetric, of row sums `c`."""
        return self.kernel(c, log_joint) * c[:, None] * c

    def kernel(self, c: Tensor, log_joint: Tensor | None = None) -> Tensor:
        """S: the probability of a later state over that of its being there at all, ``(states, states)``."""
        return nets.log_kernel(self._unscaled(log_joint), c.log()).exp()

    def _joint(self, log_joint: Tensor | None = None) -> Tensor:
        """Y of the occupations, symmetric and of sum 1 to the last digit."""
        y = self.joint(self.occupation, log_joint).double()
        return ((y + y.T) / (2 * y.sum())).to(self.occupation)

    def _unscaled(self, log_joint: Tensor | None) -> Tensor:
        """Log K."""
        rows, columns = torch.tril_indices(self.states, self.states)
        entries = self.log_joint if log_joint is None else log_joint
        k = entries.new_zeros(self.states, self.states)
        return k.index_put((rows, columns), entries).index_put((columns, rows), entries)

    def _log_joint(self, log_joint: Tensor | None) -> Tensor:
        """Log Y of sum 1, of states whose occupations are its row sums."""
        k = self._unscaled(log_joint)
        return k - torch.logsumexp(k.flatten(), 0)

    def residual(self) -> float:
        """Largest relative error of a row sum of Y after the last sweep."""
        return float((self.joint(self.occupation).sum(1) / self.occupation - 1).abs().max().detach())

    def eigenvalues(self, x: Tensor) -> Tensor:
        """Of the model's own transfer operator on frames ``(n, ...)``, descending, without the 1 of equilibrium.

        They are those of G^(1/2) S G^(1/2), G being the mean of chi chi^T; too small by what a soft state forgets.
        """
        chi = self.basis(x).detach().double()
        return nets.transfer_eigenvalues(chi, self.kernel(chi.mean(0), self.log_joint.detach().double()))

    @property
    def reads(self) -> bool:
        """Whether a network reads the states off features, or else they are where their densities are."""
        return self.generator is None or self.features is not None

    def basis(self, x: Tensor) -> Tensor:
        """Probabilities ``(n, states)`` of the states at positions ``(n, atoms, 3)`` or ``(n, dim)``; they sum to 1."""
        return self._logits(x).softmax(-1)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The state of a configuration, one of m: batch shape ``(n,)``, event shape ``(states,)``; its mean is chi."""
        return torch.distributions.OneHotCategorical(logits=self._logits(x))

    def _logits(self, x: Tensor) -> Tensor:
        if self.reads:
            return self.net(super().inputs(x))
        return self.occupation.log() + self.densities.log_prob(self.configuration(x))

    def inputs(self, x: Tensor) -> Tensor:
        """Whitened features of positions, ``(n, rank)``, and beside them what a generator is over."""
        y = super().inputs(x)
        return y if self.generator is None else torch.cat([y, self.configuration(x)], -1)

    def _parts(self, inputs: Any) -> tuple[Tensor, Tensor]:
        """Whitened features, and what a generator is over."""
        rank = len(self.scale.get_buffer("back"))
        return inputs[:, :rank], inputs[:, rank:]

    def configuration(self, x: Tensor) -> Tensor:
        """What a generator is over, ``(n, size)``: flat positions, or the bonds, angles and torsions of a molecule."""
        return x.flatten(1) if self.coordinates is None else self.coordinates(x)

    def positions(self, x: Tensor) -> Tensor:
        """Positions of what a generator has drawn, ``(..., size)``."""
        if self.generator is None:
            return super().positions(x)
        return x if self.coordinates is None else self.coordinates.positions(x)

    def transition(self, u: Tensor) -> torch.distributions.Distribution:
        """p(y | x) of configurations ``(n, size)``, a lag time later: batch shape ``(n,)``, event shape ``(size,)``."""
        return self._generating().transition(u, self._joint())

    def log_equilibrium(self, u: Tensor) -> Tensor:
        """Log mu of configurations ``(n, size)``; of a molecule per volume of conformations, rigid motions apart."""
        volume = 0.0 if self.coordinates is None else self.coordinates.log_abs_det_jacobian(u)
        return self._generating().equilibrium(self._joint()).log_prob(u) - volume

    def _generating(self) -> nets.StateDensities:
        if self.generator is None:
            raise ModelError("this ReversibleDeepMSM generates no configurations: make it with generator='flow'")
        return self.densities

    def setup(self, frames: Pairs) -> None:
        """Take the lag, whiten, and begin with the clusters of a conventional Markov state model."""
        if self.generator is not None and frames.frames.topology is not None:
            self.coordinates = self.coordinates or unbounded_coordinates(frames.frames)
        elif self.generator is not None and self.features is not None:
            raise ConfigError(
                "generator='flow' with features is over bonds, angles and torsions of a molecule: give frames with a "
                "topology, or features=None for flat coordinates"
            )
        super().setup(frames)
        ends = frames.gather(evenly(frames))
        (now, where), (later, _) = (self._parts(self.inputs(torch.as_tensor(end))) for end in ends)
        clusters = self.net if self.reads else nets.SoftStates(now.shape[1], self.states, ()).to(now)
        clusters.begin(now, later)
        if self.generator is not None:
            self.densities.begin(where, clusters(now).softmax(-1).detach())

    def finish(self, frames: Pairs) -> None:
        """Take the occupations from all training pairs, so that the density is normalised on them."""
        if not self.reads:
            self.occupation.copy_(torch.logsumexp(self._log_joint(None), 1).exp().detach())
            return
        total = torch.zeros_like(self.occupation, dtype=torch.float64)
        for ends in in_parts(frames, 16_384):
            with torch.no_grad():
                total += self.basis(torch.cat(ends).to(self.occupation)).double().sum(0)
        self.occupation.copy_((total / (2 * len(frames))).clamp_min(1e-30))  # no frame may be left of a state

    def reset(self) -> None:
        """Draw fresh weights; the states start out as clusters that mostly keep their frames."""
        super().reset()
        rows, columns = torch.tril_indices(self.states, self.states)
        with torch.no_grad():
            self.log_joint.copy_(2.0 * (rows == columns))

    @classmethod
    def example(cls) -> tuple[ReversibleDeepMSM, Any, None]:
        """Two states, and now and then a jump."""
        return cls(states=2, hidden=(8,)), toy_jumps().lagged(1.0), None
