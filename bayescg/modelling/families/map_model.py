"""What models of the dynamics over one long time step share: states in scaled units, and whose they are."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from bayescg.arguments import check_counts, check_positive, stated
from bayescg.data import evenly
from bayescg.distributions import system_config, system_from_config
from bayescg.errors import DataError, ModelError
from bayescg.modelling.batch import Batch
from bayescg.modelling.model import Model
from bayescg.nets import LinearPosterior, power_law, widening
from bayescg.sampling.long_steps.fastest_mode import check_caustic
from bayescg.sampling.long_steps.short_trajectories import propagated, short_trajectories
from bayescg.sampling.sampled_frames import masses as masses_of
from bayescg.systems import System
from bayescg.systems.core import check_system
from bayescg.topologies import topology_config, topology_from_config

if TYPE_CHECKING:
    import mdtraj

    from bayescg.data import Pairs

__all__ = ["HasMap", "MapModel"]

_FOLLOWED, _STEPS, _OFF = 8, 100, 0.2
_LEAST_CLEAN = 20


@runtime_checkable
class HasMap(Protocol):
    """Models of the step from a state to the one a lag time later, of which `Fit.map` makes a sampler.

    Attributes
    ----------
    lag : float or None
        Time step, the longest of several; None before `setup`.
    implicit : bool
        Whether `displacement` is read at the midpoint of the step, or else at its beginning.
    system : System or None
        Whose energy is known.
    """

    lag: float | None
    implicit: bool
    system: System | None

    def displacement(self, q: Tensor, p: Tensor, lag: float | None = None) -> tuple[Tensor, Tensor]:
        """Changes of flat positions and momenta over a step, each ``(n, dim)``; of another one than `lag`, if known."""
        ...

    def units(self) -> Tensor:
        """Spreads of positions and momenta, ``(2 dim,)``."""
        ...

    def widened(self, lag: float | None = None) -> float:
        """How much wider the parameters are spread for such a step than for that of `lag`."""
        ...


class MapModel(Model):
    """Base of models of the dynamics over one time step, from pairs of states of positions and momenta.

    A subclass takes `system` and `lag` among its arguments, hands them on to `begin_map`, and writes `build`,
    `displacement` and `residual`; of residuals that are linear in weights, `linear`.

    Attributes
    ----------
    system, lag
        As in :class:`HasMap`.
    weight : Parameter
    spread, noise : Tensor
        Standard deviations of weights, a priori, and of observations.
    lags : tuple of float
        Steps for which it is known how wide the posterior should be: those of the pairs, or more.
    masses : Tensor
        Of each coordinate, ``(dim,)``.
    centre, widths : Tensor
        Mean of positions, ``(dim,)``, and spreads of scaled positions and momenta, ``(2,)``.
    factors : Tensor, (lags,)
        By how much the posterior of the parameters is widened, for steps of each of the lags.
    laws : Tensor, (lags, 2)
        Factor and exponent of the variance of errors of one step, given that of the posterior that is not widened.
    reach : Tensor, (lags,)
        Largest variance in that posterior, of a whole state, that errors are known of.
    temperature, temperature_kT : float or None
        Of the pairs.
    topology : mdtraj.Topology or None
        Of the atoms.
    """

    kind = "generalised"
    needs_pairs = True
    conditional = True
    uncertainty = "laplace"
    training_defaults: ClassVar[dict[str, Any]] = {"steps": 1, "batch_size": 4096, "validation": 0.0}
    implicit: bool
    system: System | None
    lag: float | None
    temperature: float | None = None
    temperature_kT: float | None = None
    topology: mdtraj.Topology | None = None

    lags: tuple[float, ...] = ()
    weight: nn.Parameter
    masses: Tensor
    centre: Tensor
    widths: Tensor
    spread: Tensor
    noise: Tensor
    factors: Tensor
    laws: Tensor
    reach: Tensor

    def begin_map(self, system: System | None, lag: float | None, dim: int | None, enough: bool = True) -> None:
        """Take what is known beforehand, and build the functions where that is `enough` for them.

        Raises
        ------
        ConfigError
            This is no system, or a number is out of range.
        """
        if system is not None:
            check_system(system)
            dim = system.dim
        check_positive(**stated(lag=lag))
        self.system, self.lag, self.dim = system, lag, dim
        if dim is not None:
            check_counts(dim=(dim, 1))
            self._prepare(dim)
        if system is not None:
            self.masses.copy_(masses_of(system))
        if dim is not None and enough:
            self.build(dim)

    def build(self, dim: int) -> None:
        """Make `functions` of so many coordinates, and `begin_weights`."""
        raise NotImplementedError

    def begin_weights(self, *shape: int) -> None:
        """Begin weights of functions, the last axis those of one prior and noise."""
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))
        for name in ("spread", "noise"):
            self.register_buffer(name, torch.ones(shape[:-1], dtype=torch.float64))

    def of_system(self, system: System) -> MapModel:
        """The same map of another system, where what is learned is of any number of particles.

        Raises
        ------
        ModelError
            It is of the coordinates that it was trained on.
        ConfigError
            There are other kinds of particles than it was trained on.
        """
        raise ModelError(f"this {type(self).__name__} is of the {self.dim} coordinates that it was trained on")

    def with_learned(self, other: MapModel) -> Self:
        """Take all that another map has learned of other numbers of the same particles."""
        self.double()._widen(np.array(other.lags))
        values = {k: v for k, v in other.state_dict().items() if k.rpartition(".")[2] not in ("masses", "centre")}
        self.load_state_dict(values, strict=False)
        self.reach.mul_(self.masses.numel() / other.masses.numel())  # of variances summed over coordinates
        return self

    def _prepare(self, dim: int) -> None:
        for name in ("masses", "centre"):
            self.register_buffer(name, torch.ones(dim, dtype=torch.float64))
        self.register_buffer("widths", torch.ones(2, dtype=torch.float64))

    def setup(self, pairs: Pairs) -> None:
        r"""Take masses, lag and scales; build the functions where that is still to be done.

        Positions are read as :math:`\sqrt m (q - \bar q) / s`, momenta as :math:`p / (\sqrt m\, t)`.

        Raises
        ------
        DataError
            The frames have no momenta or no masses, or other coordinates, masses or another lag than the model.
        ConfigError
            The step is implicit, and beyond the caustic of the system: half the period of its fastest mode.
        """
        frames, name = pairs.frames, type(self).__name__
        if frames.momenta is None:
            raise DataError(
                f"{name} learns from positions and momenta, and these frames have no momenta: give momenta= to "
                "Frames.from_numpy, or make pairs by bcg.sampling.short_trajectories(system, starts, lag=...)"
            )
        if frames.masses is None:
            raise DataError(f"the masses of these frames are not known: give masses= to Frames.from_numpy, for {name}")
        if self.dim not in (None, frames.dim):
            raise DataError(f"this {name} is of {self.dim} coordinates, these frames have {frames.dim}")
        if self.dim is None:
            self.dim = frames.dim
            self._prepare(frames.dim)
        self.lag = pairs.lag
        self._widen(np.unique(pairs.lags.round(9)))
        self.temperature, self.temperature_kT, self.topology = (
            frames.temperature, frames.temperature_kT, frames.topology
        )  # fmt: skip
        masses = torch.as_tensor(frames.masses).repeat_interleave(frames.dim // len(frames.masses))
        expected = masses if self.system is None else masses_of(self.system)
        if not torch.allclose(masses, expected, rtol=1e-3):
            worst = int((masses / expected).log().abs().argmax())
            raise DataError(
                f"coordinate {worst} has mass {float(masses[worst]):g} in these frames and {float(expected[worst]):g} "
                "in the system: make the pairs with the system's masses"
            )
        q, p, later_q, later_p = self.states(pairs)
        if self.implicit and self.system is not None:
            check_caustic(self.system, q, masses, pairs.lag)
        q, p = torch.cat([q, later_q]), torch.cat([p, later_p])
        self.masses.copy_(masses)
        self.centre.copy_(q.mean(0))
        root = masses.sqrt()
        spreads = [((q - q.mean(0)) * root).square().mean().sqrt(), (p / root).square().mean().sqrt()]
        self.widths.copy_(torch.stack(spreads))
        if not bool((self.widths > 0).all()):
            raise DataError("all states are the same: there is no motion to learn")
        self._check_motion(pairs)
        if not hasattr(self, "functions"):
            self.build(frames.dim)
        self.double()

    def _check_motion(self, pairs: Pairs) -> None:
        """Warn where the pairs do not follow from the system: some are followed again, by Verlet in small steps."""
        if self.system is None:
            return
        rows = evenly(pairs, _FOLLOWED)
        q, p, later_q, later_p = (x[rows] for x in self.states(pairs))
        lags = pairs.lags[rows]
        there, moved = torch.cat([later_q, later_p], 1) / self.units(), torch.cat([q, p], 1) / self.units()
        for lag in np.unique(lags.round(9)):
            some = torch.as_tensor(np.abs(lags - lag) < 1e-6 * lag)
            ends = propagated(self.system, q[some], p[some], masses_of(self.system), float(lag), _STEPS, 2)
            off = (torch.cat(ends, 1) / self.units() - there[some]).square().mean().sqrt()
            if not off < _OFF * (there - moved)[some].square().mean().sqrt():
                warnings.warn(
                    f"the pairs do not follow from the system: Newton's equations lead elsewhere within {lag:g}, by "
                    f"{float(off / (there - moved)[some].square().mean().sqrt()):.0%} of the way; look whether momenta "
                    "are momenta, not velocities, at masses, units and the time between frames",
                    stacklevel=4,
                )
                return

    def clean_pairs(self, pairs: Pairs, accuracy: float) -> Pairs:
        """Pairs without noise that begin where a fifth of others end; of several lags, of those between them, too."""
        assert self.system is not None
        lags, count = np.unique(pairs.lags.round(9)), min(len(pairs), max(_LEAST_CLEAN, len(pairs) // 5))
        q, p = (x[evenly(pairs, count)] for x in self.states(pairs)[2:])
        between = lags if len(lags) == 1 else np.arange(1, round(2 * lags[-1] / lags[0]) + 1) * lags[0] / 2
        return short_trajectories(self.system, (q, p), lag=between.tolist(), accuracy=accuracy)

    def calibrate(self, errors: Tensor, variance: Tensor, lags: np.ndarray, least: float) -> None:
        """Widen the posterior so that intervals of 90 % hold that share of errors, of each lag; by `least` or more.

        Parameters
        ----------
        errors, variance : Tensor, (n, ...)
            Of predictions, in the posterior that is to be widened.
        lags : ndarray, (n,)
        least : float
        """
        self._widen(np.unique(lags.round(9)))
        for number, lag in enumerate(self.lags):
            rows = torch.as_tensor(np.abs(lags - lag) < 1e-6 * lag)
            self.factors[number] = max(least, widening(errors[rows], variance[rows]))
            self.laws[number] = torch.tensor(power_law(errors[rows], variance[rows]))
            self.reach[number] = variance[rows].sum(-1).max()

    def posterior(self, pairs: Pairs, weight: Tensor | None = None) -> LinearPosterior:
        """The one of weights in which residuals are linear, of pairs that each count `weight` ``(n,)``."""
        return LinearPosterior.of(*self.linear(*self.states(pairs), torch.as_tensor(pairs.lags)), weight)

    def take(self, pairs: Pairs, weight: Tensor, misfit: bool) -> None:
        """Take weights, in which residuals are linear, prior and noise, and widen the posterior by one factor.

        So that errors of left-out pairs fall into intervals of 90 % as often as they should; or of pairs with noise,
        whose errors cannot tell, those of some clean ones that the system is followed for.

        Parameters
        ----------
        pairs : Pairs
        weight : Tensor, (n,)
        misfit : bool
            Whether all that is left over is misfit, not noise.

        Warns
        -----
        UserWarning
            The pairs are noisy, and without a system nothing tells how wide the intervals should be.
        """
        posterior = self.posterior(pairs, weight)
        with torch.no_grad():
            self.weight.copy_(posterior.mean)
        self.spread.fill_(posterior.spread)
        self.noise.fill_(posterior.noise)
        lags, rows = len(np.unique(pairs.lags.round(9))), 2 * pairs.frames.dim
        together = rows * (lags if lags > 1 else round(pairs.overlap))
        exact = posterior.noiseless(together) or misfit
        if exact and (lags == 1 or self.system is None):
            errors, variance = (x.reshape(-1, rows) for x in posterior.left_out(together))
            self.calibrate(errors, variance, pairs.lags[: len(errors)], least=1.0)
        elif self.system is not None:
            clean = self.clean_pairs(pairs, accuracy=max(1e-11, 1e-3 * posterior.noise))
            design, y = self.linear(*self.states(clean), torch.as_tensor(clean.lags))
            self.calibrate(y - design @ posterior.mean, posterior.variance(design), clean.lags, least=0.0)
        else:
            warnings.warn(
                "the pairs are noisy and no system is given: intervals may be too narrow, as nothing tells how wide "
                "they should be; give system=",
                stacklevel=3,
            )

    def _widen(self, lags: np.ndarray) -> None:
        self.lags = tuple(lags.tolist())
        for name, shape in (("factors", ()), ("laws", (2,)), ("reach", ())):
            self.register_buffer(name, torch.ones(len(self.lags), *shape, dtype=torch.float64))

    def widened(self, lag: float | None = None) -> float:
        """How much wider the parameters are spread for such a step than for that of `lag`."""
        if lag is None or len(self.lags) == 1:
            return 1.0
        logs = self.factors.log().cpu().numpy()
        return float(np.exp(np.interp(lag, self.lags, logs) - logs[-1]))

    @staticmethod
    def states(pairs: Pairs) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Flat positions and momenta at the beginnings and ends of pairs, each ``(n, dim)``, double precision."""
        index = slice(None)
        q, later_q = (torch.as_tensor(x).double().flatten(1) for x in pairs.gather(index))
        p, later_p = (torch.as_tensor(x).double().flatten(1) for x in pairs.gather(index, "momenta"))
        return q, p, later_q, later_p

    def scaled(self, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and momenta in units in which all are of size one."""
        root = self.masses.sqrt()
        return (q - self.centre) * root / self.widths[0], p / (root * self.widths[1])

    def units(self) -> Tensor:
        """Spreads of positions and momenta, ``(2 dim,)``."""
        root = self.masses.sqrt()
        return torch.cat([self.widths[0] / root, self.widths[1] * root])

    def linear(self, *states: Any) -> tuple[Tensor, Tensor]:
        """What weights change of residuals, where these are linear in them, and residuals without them.

        Parameters
        ----------
        *states : Tensor
            The four of `states`, each ``(n, dim)``, and lags ``(n,)``.

        Returns
        -------
        design : Tensor, (n, 2 dim, weights)
        y : Tensor, (n, 2 dim)
        """
        raise NotImplementedError

    def residual(self, batch: Batch, weight: Tensor) -> Tensor:
        """What the later states are off, in scaled units, ``(n, 2 dim)``, with these weights."""
        raise NotImplementedError

    def information(self, batch: Batch) -> Tensor:
        """Residuals in units of the noise, widened by the factor."""
        off = self.residual(batch, self.weight)
        weight = torch.ones_like(off[:, 0]) if batch.weight is None else batch.weight
        return (off / (self.factors[-1] * self.noise) * weight.sqrt()[:, None]).flatten()

    def inefficiency(self, frames: Any) -> float:
        """Pairs are independent, given their beginnings: Newton's equations have no noise."""
        return 1.0

    def guide(self, batch: Any) -> None:
        """Nothing is local to a pair."""

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, where the system is one of :mod:`bayescg.systems`, or none."""
        return {
            **self.arguments("system"),
            "system": None if self.system is None else {"config": system_config(self.system)},
            "topology": None if self.topology is None else topology_config(self.topology),
            "temperature": self.temperature,
            "temperature_kT": self.temperature_kT,
            "lags": list(self.lags) or None,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        return cls._rebuilt(config, config["system"] and system_from_config(config["system"]["config"]))

    def completed(self, config: dict[str, Any]) -> Self:
        """The model of a fit, with this one's system."""
        return self._rebuilt(config, self.system)

    @classmethod
    def _rebuilt(cls, config: dict[str, Any], system: System | None) -> Self:
        learned = ("topology", "lags", "temperature", "temperature_kT")
        model = cls(**{**{k: v for k, v in config.items() if k not in learned}, "system": system})
        model._widen(np.array(config["lags"] or ()))
        model.topology = config["topology"] and topology_from_config(config["topology"])
        model.temperature, model.temperature_kT = config["temperature"], config["temperature_kT"]
        return model
