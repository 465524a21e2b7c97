"""A timescale of a molecule is one of its dynamics: it has a unit where a lag or a diffusion says so."""

import numpy as np
import pytest

from bayescg.analysis import spectrum
from bayescg.data import Frames


@pytest.fixture(scope="module")
def molecule():
    """An atom on a spring, 0.1 nm wide, which forgets where it was in 0.5 ps."""
    rng = np.random.default_rng(0)
    x, keep = rng.normal(size=(20, 1, 3)), np.exp(-0.1 / 0.5)
    out = []
    for _ in range(400):
        x = keep * x + np.sqrt(1 - keep**2) * rng.normal(size=x.shape)
        out.append(0.1 * x)
    x = np.stack(out, 1).reshape(-1, 1, 3)
    return Frames.from_numpy(x, unit="nm", dt=0.1, temperature=300.0, trajectory=np.repeat(np.arange(20), 400))


def along(x):
    return x[:, 0, :1]


def test_without_a_lag_or_a_diffusion_a_molecule_has_no_picoseconds(molecule):
    modes = spectrum(along, molecule, modes=1, draws=50)
    assert modes.unit == ""
    assert modes.quantities["timescale_1"].unit == ""
    assert "ps" not in repr(modes)
    assert any("give a lag= in ps, or diffusion= in nm²/ps" in w for w in modes.warnings)


@pytest.mark.parametrize("stated", [{"lag": 0.2}, {"diffusion": 0.02}])
def test_a_lag_or_a_diffusion_gives_them(molecule, stated):
    modes = spectrum(along, molecule, modes=1, draws=50, **stated)
    quantity = modes.quantities["timescale_1"]
    assert quantity.unit == "ps"
    assert quantity.ci90 is not None
    assert quantity.ci90[0] < 0.5 < quantity.ci90[1]
    assert not any("mobility" in w for w in modes.warnings)
