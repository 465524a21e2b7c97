"""Standard errors of few refits: those of their mean, while intervals are wider, by Student's t."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bayescg.analysis import free_energy
from bayescg.analysis.free_energy.refits import log_partition
from bayescg.analysis.resampled import average
from bayescg.data import Frames


def of_refits(refits: int, each: int = 400, seed: int = 0) -> Frames:
    """Draws of refits that differ: each has a value of its own, as in `bayescg.analysis.reweighted`."""
    rng = np.random.default_rng(seed)
    x = 0.3 * rng.normal(size=(refits, 1)) + rng.normal(size=(refits, each))
    number = np.repeat(np.arange(refits), each)
    frames = Frames.from_numpy(x.reshape(-1, 1), unit="reduced", temperature_kT=1.0, trajectory=number)
    weighing = {"refits": refits, "log_z": rng.normal(size=refits).tolist(), "log_z_sd": [0.1] * refits}
    return replace(frames, provenance={**frames.provenance, **weighing})


@pytest.mark.parametrize("refits", [3, 6, 30])
def test_an_average_has_the_standard_error_of_the_refits_and_their_interval_by_t(refits):
    frames = of_refits(refits)
    x = frames.positions[:, 0]
    values = x.reshape(refits, -1).mean(1)
    quantity = average(x, frames, draws=20_000, seed=0, unit="")
    error = values.std(ddof=1) / refits**0.5
    assert quantity.sd == pytest.approx(error, rel=0.05)
    assert quantity.mean == pytest.approx(values.mean(), abs=0.03 * error)
    assert quantity.ci90 is not None
    assert np.diff(quantity.ci90)[0] / 2 == pytest.approx(stats.t.ppf(0.95, refits - 1) * error, rel=0.1)
    assert sum((s or 0) ** 2 for s in quantity.sd_by_source.values()) == pytest.approx(quantity.sd**2)


@pytest.mark.parametrize("refits", [3, 6])
def test_a_free_energy_difference_and_log_z_have_standard_errors_too(refits):
    frames = of_refits(refits)
    x = frames.positions[:, 0].reshape(refits, -1)
    fes = free_energy(None, frames, cv=lambda x: x[:, 0], bins=20, draws=4000)
    difference = fes.difference((-9.0, 0.0), (0.0, 9.0))
    share = (x < 0).mean(1)  # the delta method: d/dp ln(p / (1 - p))
    error = share.std(ddof=1) / refits**0.5 / (share.mean() * (1 - share.mean()))
    assert difference.sd == pytest.approx(error, rel=0.1)
    log_z = log_partition(frames, 4000, 0)
    assert log_z.sd == pytest.approx(np.std(frames.provenance["log_z"], ddof=1) / refits**0.5, rel=0.01)
