"""Several methods on the same data: what is measured of each, what is said of it, and a run from end to end."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.experiments import load, report, resume, run
from bayescg.questions.eigenfunction_study import conclusions
from bayescg.questions.exact_eigenfunction import (
    BesideTheExactEigenfunction,
    Exact,
    coordinates,
    functions_of,
    measure,
    one_cv,
)
from bayescg.questions.studies import over_data_sets

SMALL = """
[experiment]
name = "small"
[run]
compile = "off"
[system]
name = "CurvedWell"
temperature_kT = 0.25
[simulation]
engine = "overdamped"
time = 8.0
chains = 40
dt = 0.02
frame_every = 0.2
[features]
name = "none"
[model]
name = "GeneratorEigenfunctions"
modes = 1
hidden = [8]
[fit]
steps = 10
batch_size = 500
validation = 0.0
[analysis]
draws = 10
[compare]
lag = 1.0
replicates = 2
questions = ["exact_eigenfunction"]
[compare.fit]
steps = 10
batch_size = 128
uncertainty = "none"
[compare.models.autoencoder]
name = "Autoencoder"
latent_dim = 1
hidden = [8]
[compare.models.deep_msm]
name = "ReversibleDeepMSM"
hidden = [8]
"""
SCALES = BesideTheExactEigenfunction.scales
WELL = bcg.systems.CurvedWell(epsilon=0.5, temperature_kT=0.25)


def silent(_: str) -> None:
    """Say nothing."""


@pytest.fixture(scope="module")
def frames():
    return bcg.sampling.overdamped(WELL, 2000, dt=0.005, chains=400, stride=40, device="cpu", compile="trace")


@pytest.fixture(scope="module")
def exact():
    return Exact(WELL)


def test_the_exact_eigenfunction_is_found_to_be_exact(frames, exact):
    found = measure(lambda x: exact.function(x)[:, None], frames, frames, exact, 1.0, 100, 0)
    assert found.r2 == pytest.approx(1.0)
    assert found.within < 0.011
    sd = found.cv_timescale.std()
    assert abs(found.cv_timescale.mean() - 40.56) < 3 * sd
    # functions of it hold nothing slower, and the hats lose little of it
    assert abs(found.timescale.mean() / found.cv_timescale.mean() - 1) < 0.02


def test_a_coordinate_is_neither_slow_nor_constant_in_the_wells(frames, exact):
    """x1 by quadrature of the equilibrium density: R2 0.972, 5.3 % of its variance within wells."""
    grid = torch.linspace(-1.9, 1.9, 400), torch.linspace(-3.0, 3.0, 400)
    x = torch.stack(torch.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 2)
    weight = WELL.log_prob(x).double().exp().numpy()
    phi, x1 = exact.function(x).numpy(), x[:, 0].double().numpy()
    by_quadrature = np.cov(phi, x1, aweights=weight)
    r2 = by_quadrature[0, 1] ** 2 / by_quadrature[0, 0] / by_quadrature[1, 1]
    found = measure(lambda x: x[:, :1], frames, frames, exact, 1.0, 100, 0)
    assert found.r2 == pytest.approx(r2, abs=3e-3)  # 20 000 draws: a standard error of 0.0004
    side = x1 > 0
    within = sum(np.cov(x1[s], aweights=weight[s]) * weight[s].sum() for s in (side, ~side)) / weight.sum()
    assert found.within == pytest.approx(within / by_quadrature[1, 1], abs=3e-3)
    # as if it were the eigenfunction it is far too fast; a function of it is nearly as slow as the truth
    assert found.cv_timescale.mean() < 25
    assert found.timescale.mean() > 33
    # x1 rebuilds itself, and x2 up to its Gaussian noise around the valley, of variance eps kT / 2
    rest = 0.5 * 0.5 * 0.25 / float(exact.x[:, 1].var()) / 2
    assert found.reconstruction == pytest.approx(rest, rel=0.05)


def test_linear_tica_is_that_of_deeptime(frames):
    decomposition = pytest.importorskip("deeptime.decomposition")
    tica = decomposition.TICA(lagtime=5, dim=1)
    for chain in range(400):
        tica.partial_fit(frames.positions[frames.trajectory == chain].astype(np.float64))
    x = torch.as_tensor(frames.positions[::10])
    theirs = tica.fetch_model().transform(x.double().numpy())[:, 0]
    ours = one_cv(coordinates, frames, 1.0)(x).numpy()[:, 0]
    assert np.corrcoef(ours, theirs)[0, 1] ** 2 > 0.9999


def test_hats_need_frames_to_stand_on(frames):
    """A CV with a few far outliers: no function is of them alone."""
    far = frames.subset(slice(0, 2000))
    hats = functions_of(lambda x: torch.where(x[:, :1] > x[:, 0].max() - 1e-6, x[:, :1] + 100, x[:, :1]), far)
    assert (hats(torch.as_tensor(far.positions)).mean(0) > 1e-3).all()


def table(**r2):
    """What four data sets might say of methods with these R²."""
    noise = 0.01 * np.random.default_rng(0).normal(size=(len(r2), 4))
    values = np.array(list(r2.values()))[:, None] + noise
    draws = 40.0 + np.random.default_rng(1).normal(size=(len(r2), 4, 100))
    per_block = np.repeat(values[:, :, None], 10, 2)
    return xr.Dataset(
        {
            **{k: (("model", "replicate"), values) for k in ("r2", "within")},
            **{k: (("model", "replicate"), 1 - values) for k in ("reconstruction", "coarse_reconstruction")},
            **{k: (("model", "replicate", "draw"), draws) for k in ("timescale", "cv_timescale", "own_timescale")},
            "score": (("model", "replicate", "block"), per_block),
        },
        coords={"model": list(r2)},
        attrs={"timescale": 40.0, "lag": 1.0},
    )


def test_the_conclusion_says_what_the_numbers_say():
    told = " ".join(conclusions(table(slow=0.99, lagged=0.9, plain=0.7), ["plain", "lagged"]))
    assert "As expected, plain falls behind lagged, by 0.2" in told
    assert "As expected, lagged falls behind slow" in told
    told = " ".join(conclusions(table(plain=0.9, lagged=0.7, slow=0.71), ["plain", "lagged"]))
    assert "Against what was expected, plain is ahead of lagged" in told
    assert "do not tell lagged from slow" in told
    assert "the exact 40.0 is inside 4 of 4 intervals" in told


@pytest.mark.parametrize(
    ("quantity", "values", "low", "high"),
    [
        ("r2", [0.60, 0.89], 0.0, 1.0),
        ("within", [0.02, 0.3], 0.0, 1.0),
        ("coarse_reconstruction", [0.02, 0.3], 0.0, 1.0),
        ("cv_timescale", [8.3, 17.3], 0.0, np.inf),
        ("score", [1.77, 1.89], 1.0, 2.0),
    ],
)
def test_no_interval_holds_what_cannot_be(quantity, values, low, high):
    """Two data sets: the t of one degree of freedom is wide, and on the plain scale it leaves the possible."""
    values = np.array(values)
    ci90 = over_data_sets(values, scale=SCALES[quantity]).ci90
    assert ci90 is not None
    below, above = ci90
    assert low <= below < values.min() < values.max() < above <= high
    close = values.mean() * (1 + 1e-6 * np.arange(-2, 3))  # where the scale hardly bends, it is that of a plain t
    found = over_data_sets(close, scale=SCALES[quantity])
    half = 2.1318 * found.sd  # 95 % of Student's t with four degrees of freedom
    assert found.ci90 == pytest.approx((found.mean - half, found.mean + half), abs=1e-3 * half)


@pytest.mark.parametrize("quantity", ["r2", "cv_timescale"])
def test_intervals_over_data_sets_cover(quantity):
    """Five values around a truth on the scale of the t: 90 % of 2000, within three standard errors of 0.7 %."""
    draws = 1.0 + 0.3 * np.random.default_rng(0).normal(size=(2000, 5))
    exact, values = (np.tanh(1.0) ** 2, np.tanh(draws.clip(0)) ** 2) if quantity == "r2" else (np.e, np.exp(draws))
    ends = np.array([over_data_sets(v, scale=SCALES[quantity]).ci90 for v in values])
    assert abs(((ends[:, 0] <= exact) & (exact <= ends[:, 1])).mean() - 0.9) < 0.02


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['compare.order=["none_such"]'], "names 'none_such'"),
        (["compare.models.autoencoder.width=3"], "unknown argument"),
        (["compare.lag=0.3"], "lag"),
        (["compare.replicates=1"], "compare.replicates"),
        (['system.name="Prinz"'], "arguments|unknown argument"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_computed(changes, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        run(load("curved-well-comparison", quick=True, changes=changes), tmp_path / "run", silent)
    assert not (tmp_path / "run" / "trajectories").exists()


def test_a_comparison_needs_an_exact_answer(tmp_path):
    text = Path(bcg.__file__).with_name("experiments").joinpath("curved-well-comparison.toml").read_text()
    file = tmp_path / "line.toml"
    file.write_text(text.replace('"CurvedWell"\nepsilon = 0.5\ntemperature_kT = 0.25', '"Prinz"'))
    with pytest.raises(ConfigError, match="two dimensions"):
        run(load(file, quick=True), tmp_path / "run", silent)


@pytest.mark.slow
def test_from_one_command_to_a_table_figures_and_words(tmp_path):
    (tmp_path / "small.toml").write_text(SMALL)
    path = tmp_path / "run"
    found = run(load(tmp_path / "small.toml"), path, silent)
    models = ("generator_eigenfunctions", "autoencoder", "deep_msm", "tica")
    for name in models:
        r2 = found["quantities"][f"r2_{name}"]
        assert 0 <= r2["ci90"][0] <= r2["mean"] <= r2["ci90"][1] <= 1
        assert r2["truth"] is None
        assert found["quantities"][f"timescale_{name}"]["truth"] == pytest.approx(40.56, abs=0.01)
    assert found["cost"]["steps"] == 2 * 3 * 10
    assert found["diagnostics"]["conclusion"].startswith("R² of the CV with the exact eigenfunction")
    with xr.open_datatree(path / "posterior.nc", engine="h5netcdf") as tree:
        assert tree["comparison"]["timescale"].sizes == {"model": 4, "replicate": 2, "draw": 10}
        assert set(tree["comparison"].to_dataset()["model"].values.tolist()) == set(models)
    assert {p.name for p in (path / "figures").iterdir()} == {"cvs.png", "methods.png"}
    assert "<h2>Conclusion</h2>" in (path / "report.html").read_text()


@pytest.mark.slow
def test_the_published_finding_holds(tmp_path):
    """Over five data sets and trainings: differences of R² beyond three standard errors, timescales within three."""
    numbers = run(load("curved-well-comparison"), tmp_path / "run", silent)
    (tmp_path / "run" / "figures" / "cvs.png").unlink()
    report(tmp_path / "run", silent)
    assert (tmp_path / "run" / "figures" / "cvs.png").exists()
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == numbers
    # what is complete is not made again, and says the same
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").glob("fits/*/fit.json")}
    (tmp_path / "run" / "summary.json").unlink()
    assert resume(tmp_path / "run", silent)["quantities"] == numbers["quantities"]
    assert kept == {p: p.stat().st_mtime_ns for p in kept}
    assert len(kept) == 25
    with xr.open_datatree(tmp_path / "run" / "posterior.nc", engine="h5netcdf") as tree:
        found = tree["comparison"].to_dataset().load()
    slow = ("generator_eigenfunctions", "deep_msm", "dynamics_encoder")

    def apart(a: str, b: str, quantity: str) -> float:
        d = (found[quantity].sel(model=b) - found[quantity].sel(model=a)).values
        return d.mean() / (d.std(ddof=1) / np.sqrt(len(d)))

    assert apart("autoencoder", "time_lagged", "r2") > 3
    assert all(apart("time_lagged", name, "r2") > 3 for name in slow)
    assert all(apart(name, "autoencoder", "within") > 3 for name in (*slow, "time_lagged", "tica"))
    assert all(apart("autoencoder", name, "coarse_reconstruction") > 3 for name in (*slow, "time_lagged", "tica"))
    assert all(float(found["r2"].sel(model=name).min()) > 0.99 for name in slow)
    for name in (*slow, "time_lagged"):  # each data set's estimate, by its own standard deviation
        draws = found["timescale"].sel(model=name).values
        assert (np.abs(draws.mean(1) - found.attrs["timescale"]) < 3 * draws.std(1)).all()
    score = found["score"].mean("block")
    d = (score.sel(model="generator_eigenfunctions") - score.sel(model="autoencoder")).values
    assert d.mean() > 3 * d.std(ddof=1) / np.sqrt(len(d))
