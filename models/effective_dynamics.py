"""Effective dynamics of one collective variable: its free energy and its diffusion, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pyro
import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_positive
from bayescg.data import Pairs, toy_spring
from bayescg.features import Features
from bayescg.modelling import Batch, VariableModel


class EffectiveDynamics(VariableModel):
    r"""Overdamped motion of a collective variable along its free energy (Hummer 2005).

    The variable z moves by :math:`dz = (-D F' / kT + D') dt + \sqrt{2 D}\, dW`, with a diffusion D that depends on it.
    F and log D are cubic splines whose third and second derivatives are noise a priori. The likelihood of pairs of
    frames a lag :math:`\tau` apart is that of the exact propagator on a grid, :math:`e^{\tau Q}`, with rates Q in
    detailed balance with :math:`e^{-F/kT}`; it is right at any lag, where a Gaussian around a step of Euler and
    Maruyama is off by half of D at a hundredth of the relaxation time. Frames are counted once, and then cost nothing.
    The parameters are those of largest posterior density, found by Fisher's scoring.

    Of pairs of biased frames, as :meth:`bayescg.data.Frames.segments` of umbrella sampling makes them, F is without the
    bias, which is added to it in each window; F and D are the same in all.

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
    cells, windows, window_cells, lag, low, high : optional
        Of the grid and of a bias, and the lag; the training pairs tell.
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
        windows: int = 0,
        window_cells: int | None = None,
        lag: float | None = None,
        low: float | None = None,
        high: float | None = None,
        temperature: float | None = None,
        temperature_kT: float | None = None,
    ):
        super().__init__()
        check_counts(knots=(knots, 6), diffusion_knots=(diffusion_knots, 6))
        check_positive(roughness=roughness, diffusion_roughness=diffusion_roughness)
        self.knots, self.diffusion_knots = knots, diffusion_knots
        self.roughness, self.diffusion_roughness = float(roughness), float(diffusion_roughness)
        self.begin_variable(
            features, cv, periodic, cells, windows, window_cells, lag, low, high, temperature, temperature_kT
        )
        self.energy = nets.SmoothFunction(knots, 3, self.roughness, self.periodic, constant=False)
        self.mobility = nets.SmoothFunction(diffusion_knots, 2, self.diffusion_roughness, self.periodic)
        self.register_buffer("first_log_diffusion", torch.zeros((), dtype=torch.float64))

    def profiles(self) -> tuple[Tensor, Tensor]:
        """F in kT in the cells, ``(cells,)``, and log D at the borders between neighbours."""
        return self._profiles(self.energy, self.mobility)

    def _profiles(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        middles, borders = self.grid.middles_and_borders(self.first_log_diffusion)
        return energy(middles), self.first_log_diffusion + mobility(borders)

    def _log_propagator(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> Tensor:
        """Of each window, ``(windows, n, n)``; all have one F and one D."""
        f, log_d = self._profiles(energy, mobility)
        assert self.lag is not None
        d, width = log_d.exp(), self.grid.width
        lag = self.lag + width**2 / (12 * d.mean())  # to squared displacements, rounding to cells adds width^2 / 6
        cell = self.begin[:, None] + torch.arange(self.bias.shape[1], device=self.begin.device)
        border = cell if self.periodic else cell[:, :-1]
        return nets.log_propagator(f[cell] + self.bias, d[border], width, self.periodic, lag)

    def model(self, batch: Batch) -> None:
        """F, log D ~ smooth; cells of later frames ~ the propagator's row of the first ones."""
        prior = {"weight": nets.gaussian(1.0)}
        energy, mobility = (nets.random_net(self, name, prior) for name in ("energy", "mobility"))
        log_p = self._log_propagator(energy, mobility) - np.log(self.grid.width)
        now, later = self.in_windows(batch.window, batch.x, batch.y)
        with batch.plate("frames"):
            pyro.factor("pairs", log_p[0 if batch.window is None else batch.window, now, later])

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""

    def information(self, batch: Batch) -> Tensor:
        """Of every transition, from where the batch begins: the expected information of its pairs."""
        log_p = self._log_propagator(self.energy, self.mobility)
        return ((self.starts(batch)[..., None] * log_p.exp()).sqrt().detach() * log_p).flatten()

    def prior_spread(self) -> Tensor:
        """Prior standard deviation of log D at the borders between cells."""
        return self._profiles(lambda z: z, lambda z: self.mobility.basis(z).norm(dim=1))[1] - self.first_log_diffusion

    def potential(self, x: Tensor) -> Tensor:
        """F ``(n,)`` of values ``(n, 1)`` of the variable, in the unit of kT of the frames."""
        return self.kT * self.energy(self.grid.place(x.to(self.first_log_diffusion)))

    def setup(self, frames: Pairs) -> None:
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
        super().setup(frames)
        now, later = self.span(frames)
        assert self.lag is not None
        square, least = nets.mean_squares(now, later, self.periodic)
        self.first_log_diffusion.copy_((square / (2 * self.lag)).log())
        if self.cells is None:
            self.cells = nets.enough_cells(self.grid.high - self.grid.low, float(least) ** 0.5, self.lag)
        self.take_windows(frames, 2.0 * float(square) ** 0.5)

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
        start = energy.of_histogram(self.histogram(counts, pairs, weight))
        weights, converged = nets.fisher_scoring(log_p, counts, torch.cat([start, torch.zeros_like(mobility.weight)]))
        with torch.no_grad():
            for parameter, value in zip(parameters, weights.split(sizes), strict=True):
                parameter.copy_(value)
        if not converged:
            words = "F and D of largest posterior density were not found: use fewer knots, or more frames"
            warnings.warn(words, stacklevel=2)

    @classmethod
    def example(cls) -> tuple[EffectiveDynamics, Any, None]:
        """A spring, in 300 steps."""
        return cls(knots=8, diffusion_knots=6, roughness=100.0, cells=20), toy_spring().lagged(0.2), None
