"""Draws of a fit with named dimensions, and what ArviZ makes of them."""

import importlib
import warnings
from typing import Any

import numpy as np
import pytest

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ModelError
from bayescg.inference.uncertainty import CHOICES
from bayescg.models import PredictiveCV


@pytest.mark.parametrize("choice", CHOICES)
def test_the_posterior_has_named_dimensions(fits, choice):
    tree = fits[choice].posterior(draws=12, subset=10)
    assert tree.attrs["uncertainty"] == choice
    assert tree["posterior"]["cv"].dims == ("chain", "draw", "frame", "latent")
    assert tree["posterior"]["cv"].shape == (1, 12, 10, 2)
    assert tree["posterior_predictive"]["x"].dims == ("chain", "draw", "frame", "atom", "space")
    assert tree["observed_data"]["x"].dims == ("frame", "atom", "space")
    if "no_log_likelihood" not in tree.attrs:
        assert tree["log_likelihood"]["x"].dims == ("chain", "draw", "frame")
    assert ("no_log_likelihood" in tree.attrs) == (choice in ("laplace", "ensemble", "bootstrap"))  # few refits
    assert tree.attrs["statistical_inefficiency"] == 1.0
    assert tree["observed_data"]["space"].values.tolist() == ["x", "y", "z"]
    index = tree["observed_data"]["frame"].values
    training = fits[choice].frames.positions[index]
    np.testing.assert_array_equal(tree["observed_data"]["x"].values, training)
    assert ("log_noise" in tree["posterior"].data_vars) == (choice != "none")
    assert all(np.isfinite(v).all() for g in tree.children.values() for v in g.data_vars.values())


@pytest.mark.parametrize(("choice", "draws"), [("mean-field", 100), ("bootstrap", None), ("bootstrap", 100)])
def test_arviz_accepts_the_posterior(fits, choice, draws):
    az: Any = importlib.import_module("arviz_stats")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ArviZ warns of few draws and of Pareto k
        tree = fits[choice].posterior(draws=draws, subset=10)
        table = az.summary(tree, var_names=["log_noise"])
        for function in (az.ess, az.eti, az.hdi, az.mcse):
            found = function(tree, var_names=["log_noise", "cv"])
            assert found["cv"].shape[-2:] == (10, 2) or found["cv"].shape[:2] == (10, 2)
        if choice == "mean-field":
            score = az.loo(tree)
            assert np.isfinite(score.elpd)
            assert score.n_data_points == 10
    assert len(table) == 9
    assert np.isfinite(np.asarray(table["mean"], dtype=float)).all()


def test_draws_say_which_refit_they_are_of(fits):
    """Each refit once by default; more draws repeat them, and groups by refit are of one value of the parameters."""
    tree, repeated = fits["bootstrap"].posterior(subset=5), fits["bootstrap"].posterior(draws=8, subset=5)
    assert "refit" not in fits["mean-field"].posterior(draws=4, subset=5)["posterior"].coords
    assert tree["posterior"]["refit"].values.tolist() == [0, 1, 2]
    assert "a few refits are not so many" in tree.attrs["no_log_likelihood"]  # ArviZ fails of the tail of their weights
    assert "refits are repeated" in repeated.attrs["no_log_likelihood"]
    for group in ("posterior", "posterior_predictive"):
        assert tree[group]["refit"].values.tolist() == [0, 1, 2]
        assert repeated[group]["refit"].dims == ("draw",)
    assert "refit" not in tree["observed_data"].coords
    by_refit = repeated["posterior"].dataset["log_noise"].groupby("refit")
    assert float(by_refit.std("draw").max()) == 0 < float(repeated["posterior"].dataset["log_noise"].std("draw").min())


def test_arviz_plots_the_posterior(fits):
    import matplotlib

    matplotlib.use("Agg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz_plots
        import matplotlib.pyplot as plt

        tree = fits["laplace"].posterior(draws=100, subset=5)
        drawn = arviz_plots.plot_dist(tree, var_names=["log_noise"], backend="matplotlib")
        assert drawn is not None
        drawn.savefig("/dev/null", format="png")
        plt.close("all")


def test_the_posterior_comes_back_from_netcdf(fits, tmp_path):
    import xarray as xr

    tree = fits["bootstrap"].posterior(draws=6, subset=5)
    tree.to_netcdf(tmp_path / "posterior.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "posterior.nc", engine="h5netcdf") as again:
        assert again.identical(tree)


def test_replicates_of_the_posterior_predictive_have_random_numbers_of_their_own(toy_frames):
    """Over draws a generated coordinate spreads as over frames, also where the parameters do not vary."""
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(), steps=60, uncertainty="none", seed=0)
    x = fit.posterior(200)["posterior_predictive"].dataset["x"].values[0]
    np.testing.assert_allclose(x.std(0).mean(0), x.std(1).mean(0), rtol=0.1)


def test_a_laplace_posterior_has_no_log_likelihood(toy_frames):
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(), steps=60, uncertainty="laplace", seed=0)
    assert "log_likelihood" not in fit.posterior(5).children
    with pytest.raises(ModelError, match="linearised"):
        fit.log_density(toy_frames(), draws=5)


def test_a_draw_is_one_refit_in_every_group(toy_frames):
    """Draws d and d + members have the parameters of the same refit."""
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(), steps=60, members=5, seed=0)
    values = fit.posterior(8)["posterior"].dataset["decoder.0.weight"].values[0]
    np.testing.assert_array_equal(values[:4], values[4:8])
    assert np.ptp(values[:4], axis=0).max() > 0


@pytest.mark.parametrize(("changes", "why"), [
    ({"weights": np.r_[np.ones(30), np.full(30, 2.0)]}, "uneven weights"), ({"dt": 1.0}, "correlated"), ({}, None),
])  # fmt: skip
def test_leave_one_out_scores_of_frames_that_count_unevenly_are_not_offered(toy_frames, tmp_path, changes, why):
    """Frames in the order of their first coordinate are correlated, if they are in time."""
    x = toy_frames(60).positions
    frames = Frames.from_numpy(x[np.argsort(x[:, 0])], unit="reduced", temperature_kT=1.0, **changes)
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), frames, steps=60, uncertainty="none", validation=0, seed=0)
    tree = fit.posterior(4)
    assert ("log_likelihood" in tree.children) == (why is None)
    assert ("constant_data" in tree.children) == ("weights" in changes)
    if why is not None:
        assert why in tree.attrs["no_log_likelihood"]
        assert "bcg.analysis.compare" in tree.attrs["no_log_likelihood"]
    fit.save(tmp_path)
    with pytest.warns(UserWarning, match="neither cv nor observed_data nor log_likelihood"):
        assert set(bcg.Fit.load(tmp_path).posterior(4).children) == {"posterior", "posterior_predictive"}
