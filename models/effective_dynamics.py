"""Effective dynamics of one collective variable: its free energy and its diffusion, with error bars."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_numbers, check_positive
from bayescg.data import Frames, Pairs, evenly
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features, Torsions, features_from_config
from bayescg.modelling import Batch, Model, check_features
from bayescg.units import kT

_CHUNK = 65_536
_CELL = 0.12
"""Width of a cell, in root mean square displacements of a lag: at 0.15 the bias of D is 0.8 %, at 0.24 1.6 %."""
_MOST_CELLS = 400
_FEWEST_CELLS = 60
_SAMPLE = 20_000
_BEYOND = 0.02
"""Parts of the range, by which a frame may lie beyond it."""
_FURTHEST = 0.5
"""The same of the few that a fold or later frames of the same ensemble have further out."""


class EffectiveDynamics(Model):
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
    dim, topology = 1, None

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
        torsion = isinstance(features, Torsions) and features.size == 2
        if features is not None and (cv is not None or not (torsion or features.size == 1)):
            raise ConfigError(
                "effective dynamics is of one variable: give features of size 1, those of one torsion, or cv= alone"
            )
        if periodic is not None:
            check_flags(periodic=periodic)
        if cells is not None:
            check_counts(cells=(cells, 10))
        check_counts(knots=(knots, 6), diffusion_knots=(diffusion_knots, 6))
        check_positive(roughness=roughness, diffusion_roughness=diffusion_roughness)
        stated = {"lag": lag, "temperature": temperature, "temperature_kT": temperature_kT}
        check_positive(**{key: value for key, value in stated.items() if value is not None})
        ends = {"low": low, "high": high}
        check_numbers(**{key: (value, "(-inf, inf)") for key, value in ends.items() if value is not None})
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"low={low!r} and high={high!r}: the range of the grid ends above where it begins")
        self.features, self.cv_of_frames = features, _function(cv)
        self.cv_name = None if cv is None else type(cv).__name__
        self.knots, self.diffusion_knots = knots, diffusion_knots
        self.roughness, self.diffusion_roughness = float(roughness), float(diffusion_roughness)
        self.periodic = torsion if periodic is None else periodic
        self.cells, self.lag, self.low, self.high = cells, lag, low, high
        self.temperature, self.temperature_kT = temperature, temperature_kT
        self.energy = nets.SmoothFunction(knots, 3, self.roughness, self.periodic, constant=False)
        self.mobility = nets.SmoothFunction(diffusion_knots, 2, self.diffusion_roughness, self.periodic)
        self.register_buffer("first_log_diffusion", torch.zeros((), dtype=torch.float64))

    @property
    def width(self) -> float:
        """Of a cell."""
        assert self.cells is not None
        return self._extent / self.cells

    @property
    def _extent(self) -> float:
        assert self.low is not None
        assert self.high is not None
        return self.high - self.low

    def _place(self, z: Tensor) -> Tensor:
        """Of values ``(n, 1)`` in the range, ``(n,)``, 0 at its low end and 1 at its high one."""
        return (z[:, 0] - (self.low or 0.0)) / self._extent

    def coordinate(self, x: Tensor) -> Tensor:
        """Z of positions ``(n, ...)``, ``(n,)``."""
        if self.cv_of_frames is not None:
            y = self.cv_of_frames(x).reshape(len(x), -1)
        else:
            y = x.flatten(1) if self.features is None else self.features(x)
        if isinstance(self.features, Torsions):
            return torch.atan2(y[:, 0], y[:, 1])
        if y.shape[1] != 1:
            raise DataError(
                f"effective dynamics is of one variable, and these frames have {y.shape[1]} coordinates: give "
                "features= of size 1, or cv= a function of positions or a fit with one CV"
            )
        return y[:, 0]

    def inputs(self, x: Tensor) -> Tensor:
        """z, ``(n, 1)``."""
        return self.coordinate(x).to(self.first_log_diffusion)[:, None]

    def cell(self, z: Any) -> Tensor:
        """Cells ``(n,)`` of values ``(n, 1)``; those beyond the range are in the last ones, angles where they are."""
        assert self.cells is not None
        place = self._place(z)
        place = place.remainder(1.0) if self.periodic else place
        return (place * self.cells).long().clamp(0, self.cells - 1)

    def rows(self, frames: Any) -> Any:
        """The pairs themselves.

        Raises
        ------
        DataError
            More than three and 1 % of them lie beyond the range of the grid, or one does by half of it.
        """
        if not isinstance(frames, Pairs) or self.low is None or self.high is None or self.periodic:
            return frames
        beyond = [torch.zeros(0)]
        for start in range(0, len(frames), _CHUNK):
            ends = frames.gather(slice(start, start + _CHUNK))
            with torch.no_grad():
                now, later = (
                    self._place(self.inputs(torch.as_tensor(end).to(self.first_log_diffusion))) for end in ends
                )
            beyond.append((torch.stack([now, later]) - 0.5).abs().amax(0).cpu() - 0.5)
        past = torch.cat(beyond)
        many = int((past > _BEYOND).sum())
        if many > max(3, 0.01 * len(past)) or (past > _FURTHEST).any():
            raise DataError(
                f"{many} of {len(past)} pairs ({100 * many / len(past):.3g} %) lie beyond the range {self.low:.4g} to "
                f"{self.high:.4g} of the grid, where their density is not known: leave them out, or fit an "
                "EffectiveDynamics(low=..., high=...) whose range holds all frames"
            )
        return frames

    def profiles(self) -> tuple[Tensor, Tensor]:
        """F in kT in the cells, ``(cells,)``, and log D at the borders between neighbours."""
        return self._profiles(self.energy, self.mobility)

    def _profiles(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        assert self.cells is not None
        place = torch.arange(self.cells + 1).to(self.first_log_diffusion) / self.cells
        edges = place[1:] if self.periodic else place[1:-1]
        return energy(place[:-1] + 0.5 / self.cells), self.first_log_diffusion + mobility(edges)

    def _log_propagator(self, energy: Callable[..., Tensor], mobility: Callable[..., Tensor]) -> Tensor:
        f, log_d = self._profiles(energy, mobility)
        assert self.lag is not None
        return nets.log_propagator(f, log_d.exp(), self.width, self.periodic, self.lag)

    def prior_spread(self) -> Tensor:
        """Prior standard deviation of log D at the borders between cells."""
        return self._profiles(lambda z: z, lambda z: self.mobility.basis(z).norm(dim=1))[1] - self.first_log_diffusion

    def anew(self) -> EffectiveDynamics:
        """A model of the same variable, not yet trained, for another lag."""
        settings = self.arguments("features", "cv", "lag", "cells", "low", "high")
        return EffectiveDynamics(features=self.features, cv=self.cv_of_frames, **settings)

    def model(self, batch: Batch) -> None:
        """F, log D ~ smooth; cells of later frames ~ the propagator's row of the first ones."""
        prior = {"weight": nets.gaussian(1.0)}
        energy, mobility = (nets.random_net(self, name, prior) for name in ("energy", "mobility"))
        log_p = self._log_propagator(energy, mobility) - np.log(self.width)
        with batch.plate("frames"):
            pyro.factor("pairs", log_p[self.cell(batch.x), self.cell(batch.y)])

    def guide(self, batch: Batch) -> None:
        """Nothing is hidden."""

    def information(self, batch: Batch) -> Tensor:
        """Of every transition, from where the batch begins: the expected information of its pairs."""
        log_p, x = self._log_propagator(self.energy, self.mobility), batch.x
        weight = torch.ones(len(batch)).to(log_p) if batch.weight is None else batch.weight.to(log_p)
        starts = torch.zeros(len(log_p)).to(log_p).index_add(0, self.cell(x), weight)
        return ((starts[:, None] * log_p.exp()).sqrt().detach() * log_p).flatten()

    def potential(self, x: Tensor) -> Tensor:
        """F ``(n,)`` of values ``(n, 1)`` of the variable, in the unit of kT of the frames."""
        return self.kT * self.energy(self._place(x.to(self.first_log_diffusion)))

    def diffusion_at(self, z: Tensor) -> Tensor:
        """D ``(n,)`` of values ``(n, 1)``."""
        return (self.first_log_diffusion + self.mobility(self._place(z.to(self.first_log_diffusion)))).exp()

    @property
    def kT(self) -> float:
        """Thermal energy, of the frames."""
        if self.temperature_kT is not None:
            return self.temperature_kT
        assert self.temperature is not None
        return kT(self.temperature)

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The variable, of batch shape ``(n,)`` and event shape ``(1,)``, known exactly."""
        z = self.coordinate(x)[:, None]
        return dist.Normal(z, 1e-6).to_event(1)

    def span(self, data: Pairs) -> tuple[Tensor, Tensor]:
        """Take the range, where none is set; the variable of the pairs that were looked at, at both ends.

        Raises
        ------
        DataError
            The variable never changes.
        """
        now, later = (self.coordinate(torch.as_tensor(end)).double() for end in data.gather(evenly(data, _SAMPLE)))
        low, high = float(torch.minimum(now, later).min()), float(torch.maximum(now, later).max())
        if not low < high:
            raise DataError("the variable is the same in all frames: there is no dynamics of it")
        margin = _BEYOND * (high - low)
        if self.low is None or self.high is None:
            self.low, self.high = (-np.pi, np.pi) if self.periodic else (low - margin, high + margin)
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
        moved = later - now
        if self.periodic:
            moved = torch.remainder(moved + np.pi, 2 * np.pi) - np.pi
        square = moved[now.argsort()].square()
        least = torch.stack([part.mean() for part in square.tensor_split(20) if len(part)]).clamp_min(1e-30).min()
        self.first_log_diffusion.copy_((square.mean() / (2 * self.lag)).log())
        if self.cells is None:
            wanted = int(np.ceil(self._extent / (_CELL * float(least) ** 0.5)))
            self.cells = int(np.clip(wanted, _FEWEST_CELLS, _MOST_CELLS))
            if wanted > 2 * _MOST_CELLS:
                warnings.warn(
                    f"in a lag of {self.lag:g} the variable moves by as little as {float(least) ** 0.5:.2g}, less than "
                    f"{2 * _MOST_CELLS} cells of its range resolve: D comes out too large; use a longer lag",
                    stacklevel=2,
                )

    def solve(self, pairs: Pairs, weight: Tensor) -> None:
        """Take the parameters of largest posterior density.

        Warns
        -----
        UserWarning
            They were not found.
        """
        parameters = [self.energy.weight, self.mobility.weight]
        energy, mobility, sizes = self.energy, self.mobility, [len(p) for p in parameters]

        def log_p(w: Tensor) -> Tensor:
            of_f, of_d = w.split(sizes)
            return self._log_propagator(lambda z: energy.basis(z) @ of_f, lambda z: mobility.basis(z) @ of_d)

        counts = self.counts(pairs, weight)
        begin = torch.cat([self._of_histogram(counts), torch.zeros_like(mobility.weight)])
        weights, converged = nets.fisher_scoring(log_p, counts, begin)
        with torch.no_grad():
            for parameter, value in zip(parameters, weights.split(sizes), strict=True):
                parameter.copy_(value)
        if not converged:
            words = "F and D of largest posterior density were not found: use fewer knots, or more frames"
            warnings.warn(words, stacklevel=2)

    def _of_histogram(self, counts: Tensor) -> Tensor:
        """Parameters of F that the frames' histogram has, smoothed."""
        held = counts.sum(1)
        share = held / held.mean() + 0.01
        design = self.energy.basis((torch.arange(len(held)).to(held) + 0.5) / len(held))
        design = torch.cat([torch.ones_like(held)[:, None], design], 1) * share.sqrt()[:, None]
        ridge = torch.eye(design.shape[1]).to(design)
        ridge[0, 0] = 0.0
        aim = design.T @ (-share.log() * share.sqrt())
        return torch.linalg.solve(design.T @ design + ridge, aim)[1:].detach()

    def counts(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Transitions between cells, ``(cells, cells)``, in which pairs count by their weights (n,)."""
        assert self.cells is not None
        total = torch.zeros(self.cells**2, dtype=torch.float64)
        for start in range(0, len(pairs), _CHUNK):
            part = slice(start, start + _CHUNK)
            now, later = (self.cell(self.inputs(torch.as_tensor(end))) for end in pairs.gather(part))
            total.index_add_(0, now * self.cells + later, weight[part].double().cpu())
        return total.reshape(self.cells, self.cells)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, a `cv` apart: give `Fit.load` the model then."""
        features = None if self.features is None else self.features.config()
        return {**self.arguments("features", "cv"), "features": features, "cv": self.cv_name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if config["cv"] is not None:
            raise ConfigError(
                f"its variable is {config['cv']} of your own: make the model with it again, EffectiveDynamics(cv=...), "
                "and give it to Fit.load(directory, model=...)"
            )
        features = config["features"]
        return cls(**{**config, "features": None if features is None else features_from_config(features)})

    @classmethod
    def example(cls) -> tuple[EffectiveDynamics, Any, None]:
        """A spring, in 300 steps."""
        generator = torch.Generator().manual_seed(0)
        x = torch.zeros(300, 1)
        for k in range(1, 300):
            x[k] = 0.8 * x[k - 1] + 0.6 * torch.randn(1, generator=generator)
        frames = Frames.from_numpy(x.numpy(), unit="reduced", dt=0.2, temperature_kT=1.0)
        return cls(knots=8, diffusion_knots=6, roughness=100.0, cells=20), frames.lagged(0.2), None


def _function(cv: Any) -> Any:
    """From positions to values, of a fit or a model its first CV."""
    if cv is None:
        return None
    if callable(getattr(cv, "cv", None)):
        return lambda x: cv.cv(x).mean
    if not callable(cv):
        raise ConfigError(f"cv is a {type(cv).__name__}: give a fit with one CV, or a function of positions")
    return cv
