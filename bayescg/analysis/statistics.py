"""What the analyses share: observables of frames, their correlation, the block bootstrap, quantities with draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.data import statistical_inefficiency
from bayescg.draws import interval
from bayescg.errors import DataError
from bayescg.features.observables import from_names
from bayescg.inference.uncertainty import block_weights

if TYPE_CHECKING:
    import xarray as xr

    from bayescg.data import Frames
    from bayescg.inference import Fit

__all__ = [
    "Quantity", "block_draws", "block_ids", "evaluate", "inefficiency", "inflation", "named_observables",
    "refit_sources", "rounded", "wrap",
]  # fmt: skip

CHUNK = 10_000
BLOCKS = 100


def rounded(value: float, sd: float) -> str:
    """`value` to the second digit of `sd`.

    Examples
    --------
    >>> rounded(4.77694, 0.0014), rounded(-123.4, 0.26), rounded(9.0, 56.0)
    ('4.7769', '-123.4', '9')
    """
    if not (math.isfinite(value) and math.isfinite(sd) and value and sd > 0):
        return f"{value:.3g}"
    digits = 2 + math.floor(math.log10(abs(value))) - math.floor(math.log10(sd))
    return f"{value:.{max(1, digits)}g}"


@dataclass(frozen=True)
class Quantity:
    """A number with its uncertainty, as draws.

    Attributes
    ----------
    mean, sd : float
        Of the draws.
    ci90 : (float, float) or None
        The 90 % interval; None where the data do not support one, and then `warning` says why.
    draws : ndarray, (draws,)
    unit : str
    visits : tuple of int
        How often the trajectories entered each region that the quantity is about.
    warning : str or None
    sd_by_source : dict
        Standard deviations by what they are about: ``sampling`` (finite, correlated trajectories), ``parameter``
        (finite training), ``intrinsic`` (the CV forgets coordinates). Their squares add up to that of `sd`; a source
        that is absent or None has no part in it.

    Examples
    --------
    >>> Quantity.of(np.arange(19.0), unit="kT")
    Quantity(9 ± 5.6 kT, 90 % in [0, 18])
    """

    mean: float
    sd: float
    ci90: tuple[float, float] | None
    draws: np.ndarray
    unit: str
    visits: tuple[int, ...] = ()
    warning: str | None = None
    sd_by_source: dict[str, float | None] = field(default_factory=dict)

    @classmethod
    def of(cls, draws: np.ndarray, unit: str, warning: str | None = None, **rest: Any) -> Quantity:
        """Quantity of draws; with a `warning` it has no interval."""
        draws = np.asarray(draws, dtype=np.float64)
        ci90 = None
        if warning is None:
            low, high = interval(draws, 0.9)
            ci90 = (float(low), float(high))
        return cls(
            float(draws.mean()),
            float(draws.std(ddof=min(1, len(draws) - 1))),
            ci90,
            draws,
            unit,
            warning=warning,
            **rest,
        )

    def __repr__(self) -> str:
        mean, *ends = (rounded(v, self.sd) for v in (self.mean, *(self.ci90 or ())))
        ending = f"90 % in [{', '.join(ends)}]" if ends else f"no interval: {self.warning}"
        return f"Quantity({mean} ± {self.sd:.2g}{self.unit and ' ' + self.unit}, {ending})"

    def to_dict(self) -> dict[str, Any]:
        """JSON of a run's summary: unit, mean, sd, ci90, sd_by_source."""
        sources = {k: self.sd_by_source.get(k) for k in ("sampling", "parameter", "intrinsic")}
        ci90 = None if self.ci90 is None else list(self.ci90)
        return {"unit": self.unit, "mean": self.mean, "sd": self.sd, "ci90": ci90, "sd_by_source": sources}

    def to_dataset(self) -> xr.Dataset:
        """The draws, with the rest as attributes."""
        import xarray as xr

        attrs = {"unit": self.unit, "visits": list(self.visits), "warning": self.warning or ""}
        return xr.Dataset({"value": (("draw",), self.draws)}, attrs=attrs)


def evaluate(function: Callable[[torch.Tensor], Any], frames: Frames) -> np.ndarray:
    """Values of a function of positions over all frames, ``(n, ...)``, a chunk of frames in memory at a time.

    Raises
    ------
    DataError
        A value is not finite, or there is not one for each frame.
    """
    parts = []
    with torch.no_grad():
        for start in range(0, len(frames), CHUNK):
            index = np.arange(start, min(start + CHUNK, len(frames)))
            value = function(torch.as_tensor(frames.gather(index)))
            value = value.detach().cpu().numpy() if torch.is_tensor(value) else np.asarray(value)
            if value.ndim == 0 or len(value) != len(index):
                raise DataError(
                    f"{label(function)} gave shape {value.shape} for {len(index)} frames; one value a frame is needed"
                )
            parts.append(value.astype(np.float64))
    values = np.concatenate(parts)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
    if len(bad):
        raise DataError(f"{label(function)} is not finite for frames {bad[:5].tolist()}")
    return values


def named_observables(
    observables: Sequence[str | Callable[..., Any]], fit: Fit | None, frames: Frames
) -> list[Callable[..., Any]]:
    """Observables, those given by name made from the topology of the frames.

    The reference of ``rmsd`` is that of the fit's aligned features, or else the first frame.
    """
    topology = frames.topology
    if topology is None and fit is not None and fit.frames is not None:
        topology = fit.frames.topology
    reference = getattr(getattr(fit and fit.model, "features", None), "reference", None)
    if reference is None and frames.positions.ndim == 3:
        reference = frames.gather([0])[0]
    found = []
    for one in observables:
        if not isinstance(one, str):
            found.append(one)
        elif topology is None:
            raise DataError(f"the observable {one!r} needs a topology: load the frames with top= or topology=")
        else:
            found += from_names([one], topology, reference)
    return found


def label(function: Any) -> str:
    """Name of an observable."""
    name = str(getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__))
    return "function" if name == "<lambda>" else name


def unit_of(function: Any) -> str:
    """Unit of an observable; ``"rad"`` makes it periodic."""
    return str(getattr(function, "unit", ""))


def wrap(angle: np.ndarray) -> np.ndarray:
    """Angles moved into [-pi, pi).

    Examples
    --------
    >>> float(wrap(np.array(3 * np.pi)))
    -3.14159...
    """
    return (angle + np.pi) % (2 * np.pi) - np.pi


def inefficiency(values: np.ndarray, frames: Frames, periodic: Sequence[bool] = (False,)) -> float:
    """Frames per independent draw of these values ``(n,)`` or ``(n, k)``; 1 for frames without order.

    Examples
    --------
    >>> from bayescg.data import Frames
    >>> x = np.repeat(np.random.default_rng(0).normal(size=500), 8)
    >>> round(inefficiency(x, Frames.from_numpy(x[:, None], unit="reduced", dt=1.0)))
    8
    """
    if frames.order is None:
        return 1.0
    columns = []
    for column, circular in zip(values.reshape(len(values), -1).T, periodic, strict=True):
        columns += [np.cos(column), np.sin(column)] if circular else [column]
    series = np.stack(columns, 1)
    if not np.ptp(series, axis=0).any():
        return 1.0
    return statistical_inefficiency(series, frames.trajectory)


def block_ids(frames: Frames, g: float) -> np.ndarray:
    """Contiguous blocks, ``(n,)``: 5 to 10 `g` frames long or longer, at most about 100 of them, at least about 10.

    Blocks of 5 g lose a tenth of the variance of a mean, those of 10 g a twentieth; more than 100 blocks gain nothing.
    """
    n = len(frames)
    if "refits" in frames.provenance:  # each an estimate of its own
        return np.asarray(frames.trajectory)
    if frames.order is None:
        return frames.blocks(max(1, n // BLOCKS))
    length = max(5 * g, min(10 * g, n / 20), n / BLOCKS)
    return frames.blocks(max(1, int(min(np.ceil(length), n / 10))))


def block_draws(blocks: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Weights of the blocks ``(draws, blocks)`` in the Bayesian bootstrap: Dirichlet(1, ..., 1), mean 1."""
    count = int(blocks.max()) + 1
    return block_weights(torch.arange(count), draws, seed).double().numpy()


def refit_sources(influence: np.ndarray, refits: int, sd: float) -> dict[str, float | None]:
    """Split the error of an average over draws of several refits into that of their draws and that of their training.

    Parameters
    ----------
    influence : ndarray, (n,)
        What each draw adds to the average, less the mean; as many draws of each refit, one refit after the other.
    refits : int
    sd : float
        Of the average.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(size=(10, 1000))
    >>> found = refit_sources((noise + np.arange(10)[:, None]).ravel(), 10, 1.0)
    >>> round(found["sampling"], 2), round(found["parameter"], 2)
    (0.01, 1.0)
    """
    parts = np.stack([part.mean(1) for part in np.array_split(influence.reshape(refits, -1), 10, axis=1)], 1)
    within, total = parts.var(1, ddof=1).mean() / parts.shape[1], parts.mean(1).var(ddof=1)
    share = min(1.0, float(within / total)) if total > 0 else 1.0
    return {"sampling": sd * share**0.5, "parameter": sd * (1 - share) ** 0.5}


def inflation(blocks: int, draws: int, seed: int) -> np.ndarray:
    r"""Factors ``(draws,)`` by which a block bootstrap's draws are moved away from the estimate.

    With n blocks the Bayesian bootstrap has (n - 1)/(n + 1) of the variance of a mean, and its tails are those of a
    Gaussian although the variance is itself estimated. Factors :math:`\sqrt{(n+1)/(n-1)} \sqrt{(n-1)/\chi^2_{n-1}}`
    give the draws the spread and the Student t of n - 1 degrees of freedom that the interval of a mean has.

    Examples
    --------
    >>> bool(inflation(10, 4000, 0).mean() > inflation(100, 4000, 0).mean() > 1)
    True
    """
    if blocks < 3:
        raise DataError(f"only {blocks} blocks of frames: too few for an error bar; simulate longer")
    chi2 = np.random.default_rng([seed, blocks]).chisquare(blocks - 1, draws)
    return np.sqrt((blocks + 1) / chi2)
