"""Effective dynamics of one collective variable: its free energy and its diffusion, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import pyro
import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_numbers, check_positive, stated
from bayescg.data import Pairs, evenly, in_parts, toy_spring
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features, check_variable, is_angle, one_variable
from bayescg.modelling import Batch, PotentialModel, check_features, not_in_a_file


class EffectiveDynamics(PotentialModel):
    r"""Overdamped motion of a collective variable along its free energy (Hummer 2005).

    The variable z moves by :math:`dz = (-D F' / kT + D') dt + \sqrt{2 D}\, dW`, with a diffusion D that depends on it.
    F and log D are cubic splines whose third and second derivatives are noise a priori. The likelihood of pairs of
    frames a lag :math:`\tau` apart is that of the exact propagator on a grid, :math:`e^{\tau Q}`, with rates Q in
    detailed balance with :math:`e^{-F/kT}`; it is right at any lag, where a Gaussian around a step of Euler and
    Maruyama is off by half of D at a hundredth of the relaxation time. Frames are counted once, and then cost nothing.
    The parameters are those of largest posterior density, found by Fisher's scoring.

    Of a molecule, z is not Markov at short lags: D is then that of the fast parts, and timescales are too short. Fit at
    several lags, and take those from which on nothing changes (:func:`bayescg.analysis.flat_from`).

    Parameters
    ----------
    features : Features, optional
        One number, or the sine and cosine of one torsion, of which z is the angle. None: the only coordinate.
    cv : Fit or callable, optional
        In place of features: a fit with one CV, or a function from positions to ``(n,)``, which a file does not keep.
    knots, diffusion_knots : int
        Splines of F and of log D.
    roughness, diffusion_roughness : float
        Size of the noise that the third derivative of F (kT) and the second of log D are a priori, over the range of z.
        Rougher ones widen intervals little; smoother ones cut barriers.
    periodic : bool, optional
        Whether z is an angle in radians; default: of torsions.
    cells, lag, low, high : optional
        Of the grid, and the lag; the training pairs tell.
    temperature, temperature_kT : optional
        As of :class:`bayescg.modelling.HasPotential`; the training pairs tell.

    References
    ----------
    G. Hummer, "Position-dependent diffusion coefficients and free energies from Bayesian analysis of equilibrium and
    replica molecular dynamics simulations", New J. Phys. 7, 34 (2005), eqs. (9)-(14); D. J. Bicout, A. Szabo, J. Chem.
    Phys. 109, 2325 (1998), for the rates.

    Examples
    --------
    >>> model, pairs, _ = EffectiveDynamics.example()
    >>> model.setup(pairs)
    >>> model.solve(pairs, torch.ones(len(pairs)))
    >>> model.potential(torch.tensor([[0.0], [1.0]])).shape
    torch.Size([2])
    """

    needs_pairs = True
    pair_density = "variable"
    conditional = True
    uncertainty = "laplace"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 1, "batch_size": 4096, "validation": 0.0}
    citation = "Hummer, New J. Phys. 7, 34 (2005), doi:10.1088/1367-2630/7/1/034"
    first_log_diffusion: Tensor

    def __init__(
        self,
        features: Features | None = None,
        cv: Any = None,
        knots: int = 32,
        diffusion_knots: int = 8,
        roughness: float = 30_000.0,
        diffusion_roughness: float = 10.0,
        periodic: bool | None = None,
        cells: int | None = None,
        lag: float | None = None,
        low: float | None = None,
        high: float | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_features(features)
        self.cv_of_frames = check_variable(features, cv)
        check_flags(**stated(periodic=periodic))
        check_counts(knots=(knots, 6), diffusion_knots=(diffusion_knots, 6))
        check_counts(**{name: (count, 10) for name, count in stated(cells=cells).items()})
        check_positive(roughness=roughness, diffusion_roughness=diffusion_roughness)
        check_positive(**stated(lag=lag))
        check_numbers(**{name: (end, "(-inf, inf)") for name, end in stated(low=low, high=high).items()})
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"low={low!r} and high={high!r}: the range of the grid ends above where it begins")
        self.features, self.cv_name = features, None if cv is None else type(cv).__name__
        self.knots, self.diffusion_knots = knots, diffusion_knots
        self.roughness, self.diffusion_roughness = float(roughness), float(diffusion_roughness)
        self.periodic = is_angle(features) if periodic is None else periodic
        self.cells, self.lag, self.low, self.high = cells, lag, low, high
        self.begin_potential(None, 1, temperature, temperature_kT)
        self.energy = nets.SmoothFunction(knots, 3, self.roughness, self.periodic, constant=False)
        self.mobility = nets.SmoothFunction(diffusion_knots, 2, self.diffusion_roughness, self.periodic)
        self.register_buffer("first_log_diffusion", torch.zeros((), dtype=torch.float64))

    @property
    def grid(self) -> nets.CellGrid:
        """The cells, where the range is known."""
        assert self.low is not None
        assert self.high is not None
        return nets.CellGrid(self.low, self.high, self.periodic, self.cells or 0)

    def coordinate(self, x: Tensor) -> Tensor:
        """Z of positions ``(n, ...)``, ``(n,)``."""
        return one_variable(x, self.features, self.cv_of_frames)

    def inputs(self, x: Tensor) -> Tensor:
        """z, ``(n, 1)``."""
        return self.coordinate(x).to(self.first_log_diffusion)[:, None]

    def rows(self, frames: Any) -> Any:
        """The pairs themselves.

        Raises
        ------
        DataError
            More than three and 1 % of them lie beyond the range of the grid, or one does by half of it.
        """
        if isinstance(frames, Pairs) and self.low is not None and self.high is not None and not self.periodic:
            self.grid.check_inside(*self._ends(frames))
        return frames

    @torch.no_grad()
    def _ends(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """The variable at both ends of pairs, each ``(n, 1)``."""
        device = self.first_log_diffusion.device
        parts = [[self.inputs(end.to(device)).cpu() for end in ends] for ends in in_parts(pairs)]
        now, later = (torch.cat(part) for part in zip(*parts, strict=True))
        return now, later

    def profiles(self) -> tuple[Tensor, Tensor]:
        """F in kT in the cells, ``(cells,)``, and log D at the borders between neighbours."""
        return self._profiles(self.energy, self.mobility)

    def _profiles(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        middles, borders = self.grid.middles_and_borders(self.first_log_diffusion)
        return energy(middles), self.first_log_diffusion + mobility(borders)

    def _log_propagator(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> Tensor:
        f, log_d = self._profiles(energy, mobility)
        assert self.lag is not None
        return nets.log_propagator(f, log_d.exp(), self.grid.width, self.periodic, self.lag)

    def model(self, batch: Batch) -> None:
        """F, log D ~ smooth; cells of later frames ~ the propagator's row of the first ones."""
        prior = {"weight": nets.gaussian(1.0)}
        energy, mobility = (nets.random_net(self, name, prior) for name in ("energy", "mobility"))
        log_p = self._log_propagator(energy, mobility) - np.log(self.grid.width)
        with batch.plate("frames"):
            pyro.factor("pairs", log_p[self.grid.cell(batch.x), self.grid.cell(batch.y)])

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""

    def information(self, batch: Batch) -> Tensor:
        """Of every transition, from where the batch begins: the expected information of its pairs."""
        log_p, x = self._log_propagator(self.energy, self.mobility), batch.x
        weight = torch.ones(len(batch)).to(log_p) if batch.weight is None else batch.weight.to(log_p)
        starts = torch.zeros(len(log_p)).to(log_p).index_add(0, self.grid.cell(x), weight)
        return ((starts[:, None] * log_p.exp()).sqrt().detach() * log_p).flatten()

    def prior_spread(self) -> Tensor:
        """Prior standard deviation of log D at the borders between cells."""
        return self._profiles(lambda z: z, lambda z: self.mobility.basis(z).norm(dim=1))[1] - self.first_log_diffusion

    def potential(self, x: Tensor) -> Tensor:
        """F ``(n,)`` of values ``(n, 1)`` of the variable, in the unit of kT of the frames."""
        return self.kT * self.energy(self.grid.place(x.to(self.first_log_diffusion)))

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The variable, of batch shape ``(n,)`` and event shape ``(1,)``, known exactly."""
        return nets.exactly(self.coordinate(x)[:, None])

    def span(self, data: Pairs) -> tuple[Tensor, Tensor]:
        """Take the range, where none is set; the variable of the pairs that were looked at, at both ends.

        Raises
        ------
        DataError
            The variable never changes.
        """
        now, later = (self.coordinate(torch.as_tensor(end)).double() for end in data.gather(evenly(data)))
        ends = nets.span_of(now, later, self.periodic)
        if self.low is None or self.high is None:
            self.low, self.high = ends
        return now, later

    def setup(self, pairs: Pairs) -> None:
        """Take the lag, the range, and cells that are small against how far the variable moves in a lag.

        Raises
        ------
        DataError
            The frames have more than one variable, no temperature, or one that never changes.

        Warns
        -----
        UserWarning
            The lag is so short that the grid is too coarse for it.
        """
        frames, self.lag = pairs.frames, pairs.lag
        if self.features is not None:
            self.features.check_frames(frames)
        self.temperature, self.temperature_kT = frames.temperature, frames.temperature_kT
        if self.temperature is None and self.temperature_kT is None:
            raise DataError("the temperature of these frames is not known: give temperature= where they are loaded")
        self.double()
        now, later = self.span(pairs)
        square, least = nets.mean_squares(now, later, self.periodic)
        self.first_log_diffusion.copy_((square / (2 * self.lag)).log())
        if self.cells is None:
            self.cells = nets.enough_cells(self.grid.high - self.grid.low, float(least) ** 0.5, self.lag)

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Take the parameters of largest posterior density.

        Warns
        -----
        UserWarning
            They were not found.
        """
        energy, mobility = self.energy, self.mobility
        parameters = [energy.weight, mobility.weight]
        sizes = [len(p) for p in parameters]

        def log_p(w: Tensor) -> Tensor:
            of_f, of_d = w.split(sizes)
            return self._log_propagator(lambda z: energy.basis(z) @ of_f, lambda z: mobility.basis(z) @ of_d)

        counts = self.counts(pairs, weight)
        begin = torch.cat([energy.of_histogram(counts.sum(1)), torch.zeros_like(mobility.weight)])
        weights, converged = nets.fisher_scoring(log_p, counts, begin)
        with torch.no_grad():
            for parameter, value in zip(parameters, weights.split(sizes), strict=True):
                parameter.copy_(value)
        if not converged:
            words = "F and D of largest posterior density were not found: use fewer knots, or more frames"
            warnings.warn(words, stacklevel=2)

    def counts(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Transitions between cells, ``(cells, cells)``, in which pairs count by their weights (n,)."""
        return self.grid.counts(*self._ends(pairs), weight)

    def anew(self) -> Self:
        """A model of the same variable, not yet trained, for another lag."""
        settings = self.arguments("features", "cv", "lag", "cells", "low", "high")
        return self.remade(settings, features=self.features, cv=self.cv_of_frames)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, a `cv` apart: give `Fit.load` the model then."""
        return {**self.arguments("cv"), "cv": self.cv_name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if config["cv"] is not None:
            raise not_in_a_file(cls, "cv", config["cv"])
        return super().from_config(config)

    def completed(self, config: dict[str, Any]) -> Self:
        """With the lag and the grid that the fit was trained on."""
        return self.remade(config, features=self.features, cv=self.cv_of_frames)

    @classmethod
    def example(cls) -> tuple[EffectiveDynamics, Any, None]:
        """A spring, in 300 steps."""
        return cls(knots=8, diffusion_knots=6, roughness=100.0, cells=20), toy_spring().lagged(0.2), None
