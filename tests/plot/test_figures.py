"""Figures draw the numbers they are given, with units, and leave no global state."""

from typing import Any

import matplotlib.figure
import matplotlib.image
import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import plot
from bayescg.analysis import free_energy, predictive_check
from bayescg.data import Frames
from bayescg.errors import DataError
from bayescg.models import EmbeddedPhysics, GeneratorEigenfunctions, PredictiveCV
from bayescg.plot.energies import HIGHEST


class Angle:
    name, unit = "phi", "rad"

    def __call__(self, x):
        return x[..., 0]


class Length:
    name, unit = "rg", "nm"

    def __call__(self, x):
        return x[..., 1]


@pytest.fixture(scope="module")
def frames():
    return PredictiveCV.example()[1]


@pytest.fixture(scope="module")
def fit(frames):
    return bcg.fit(
        PredictiveCV(latent_dim=2, hidden=(8,)), frames, steps=60, members=3, seed=0, compile="off", progress=False
    )


def drawn(figure, tmp_path) -> Any:
    """Saves the figure and says that it is not empty."""
    assert isinstance(figure, matplotlib.figure.Figure)
    path = tmp_path / "figure.png"
    figure.savefig(path, dpi=100)
    pixels = matplotlib.image.imread(path)[..., :3]
    assert 0.01 < (pixels < 0.9).any(-1).mean() < 0.9
    return figure.axes


def test_many_distributions_stand_in_rows_of_four(fit, frames, tmp_path):
    landscape = free_energy(fit, frames, cv=Angle(), bins=12)
    axes = drawn(plot.predicted({str(k): landscape for k in range(6)}, {}), tmp_path)
    places = [a.get_subplotspec() for a in axes]
    assert [(p.rowspan.start, p.colspan.start) for p in places] == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]


def test_a_check_has_a_panel_for_each_observable(fit, frames, tmp_path):
    check = predictive_check(fit, frames, [Angle(), Length()], bins=12, samples=300)
    axes = drawn(plot.predictive_check(check), tmp_path)
    assert [a.get_xlabel() for a in axes] == ["φ (°)", "radius of gyration (nm)"]
    assert axes[0].get_xlim() == pytest.approx((-180, 180))
    line = next(p for p in axes[1].patches if p.get_label() == "predicted")
    np.testing.assert_allclose(line.get_data().values, check["rg"].predicted.mean(0))
    points = axes[1].containers[0].lines[0].get_ydata()
    np.testing.assert_allclose(points, check["rg"].observed[check["rg"].counts > 0])


def test_a_fit_without_uncertainty_has_no_credible_band(frames):
    sure = bcg.fit(
        PredictiveCV(latent_dim=1), frames, steps=20, uncertainty="none", seed=0, compile="off", progress=False
    )
    figure: Any = plot.predictive_check(predictive_check(sure, frames, [Length()], samples=300))
    assert not any("credible" in str(p.get_label()) for p in figure.axes[0].patches)
    assert plot.cv(sure, frames).axes[0].get_xlabel() == "CV"
    assert plot.cv(sure, frames, color=Angle()).axes[0].get_ylabel() == "φ (°)"


def test_a_profile_and_its_band(frames, tmp_path):
    fes = free_energy(None, frames, Angle(), bins=8)
    (ax,) = drawn(plot.free_energy(fes), tmp_path)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("φ (°)", "free energy (kT)")
    np.testing.assert_allclose(ax.lines[0].get_ydata(), fes.mean.values)
    assert ax.get_ylim()[1] >= np.nanmax(fes.band.values)


def test_weights_that_reach_far_leave_the_wells_visible(tmp_path):
    """Draws of a broad generator with Boltzmann weights: 200 kT at the ends, and only what counts is drawn."""
    x = np.random.default_rng(0).permutation(np.linspace(-20, 20, 8001))[:, None]
    weighted = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, weights=np.exp(-(x[:, 0] ** 2) / 2))
    fes = free_energy(None, weighted, lambda x: x[:, 0], bins=80)
    edges = np.linspace(-6, 6, 61)
    centres = (edges[1:] + edges[:-1]) / 2
    (ax,) = drawn(plot.free_energy(fes, (edges, np.exp(-(centres**2) / 2)), "exact"), tmp_path)
    assert ax.get_ylim()[1] == HIGHEST
    assert ax.get_xlim()[1] == pytest.approx(50**0.5, abs=0.5)  # a bin's width
    exact = next(line for line in ax.lines if line.get_label() == "exact")
    np.testing.assert_allclose(exact.get_ydata(), centres**2 / 2 - 0.04, atol=0.06)  # 0 is a bin of 0.5


@pytest.mark.parametrize("count", [5000, 90])
def test_maps_colour_what_has_an_error_bar_alone(tmp_path, count):
    """Grey is what too few frames visited, white what none did; of 90 frames, no bin has an error bar."""
    x = np.random.default_rng(0).normal(size=(count, 2))
    cloud = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    fes = free_energy(None, cloud, lambda x: x, bins=20, draws=50)
    seen = np.histogram2d(*x.T, bins=fes.edges)[0]
    assert (seen[~fes.untold] >= 10).all()
    assert fes.untold.all() == (count == 90)
    axes = drawn(plot.free_energy(fes), tmp_path)
    for ax, values in zip(axes[:2], (fes.mean.values, fes.sd.values), strict=True):
        grey, *coloured = (np.isfinite(np.ma.filled(c.get_array(), np.nan).reshape(20, 20).T) for c in ax.collections)
        np.testing.assert_array_equal(grey, (seen > 0) & fes.untold)
        assert len(coloured) == (not fes.untold.all())
        for mesh in ax.collections[1:]:
            shown = np.ma.filled(mesh.get_array(), np.nan).reshape(20, 20).T
            np.testing.assert_array_equal(shown, np.where(fes.untold, np.nan, values))


def test_the_latent_plane(fit, frames, tmp_path):
    ax, bar = drawn(plot.cv(fit, frames, color=Angle(), ellipses=5), tmp_path)
    assert bar.get_ylabel() == "φ (°)"
    np.testing.assert_allclose(ax.collections[0].get_offsets(), fit.cv(frames).mean, atol=1e-6)
    assert len(ax.patches) == 5
    assert not plot.cv(fit, frames, ellipses=0).axes[0].patches


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("sharp", [0.0, 1e-9, 30.0])
def test_states_that_are_saturated_are_drawn(fit, frames, tmp_path, monkeypatch, k, sharp):
    """Probabilities of states of which all frames are in one, or each is in one entirely, and of one frame alone."""

    def states(x):
        chi = (sharp * torch.as_tensor(x).flatten(1)[:, :1] * torch.arange(k + (k == 1))).softmax(-1)[:, :k]
        return torch.distributions.Independent(torch.distributions.Normal(chi, 1e-6), 1)

    monkeypatch.setattr(fit, "cv", states)
    for few in (frames, frames[:1], frames[:2]):
        drawn(plot.cv(fit, few), tmp_path)


def test_ellipses_hold_ninety_percent(fit, frames):
    ellipse: Any = plot.cv(fit, frames[:20], ellipses=1).axes[0].patches[0]
    draws = fit.cv(frames.gather([0])).sample((20_000,))[:, 0].numpy()
    around = draws - ellipse.center
    turn = np.deg2rad(-ellipse.angle)
    turned = around @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    inside = ((turned / [ellipse.width / 2, ellipse.height / 2]) ** 2).sum(1) < 1
    assert 0.8 < inside.mean() < 0.97  # exactly 0.9 for a Gaussian; this is a mixture of three


def test_the_loss(fit, tmp_path):
    (ax,) = drawn(plot.loss(fit), tmp_path)
    assert ax.get_ylabel() == "loss (nats per frame)"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), [r["training"] for r in fit.log])
    (legend,) = ax.figure.legends  # beside the curves, not over them
    top = ax.get_window_extent().y1
    assert legend.get_window_extent().y0 >= top
    log = [{"step": step, "loss": 1.0 / step} for step in (1, 2, 3)]
    untempered = bcg.Fit(EmbeddedPhysics.example()[0], fit.weights, fit.settings, {}, {}, log)
    (ax,) = drawn(plot.loss(untempered), tmp_path)
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["minus a bound on log Z"]
    assert ax.get_ylabel() == "loss (nats)"
    no_likelihood = bcg.Fit(GeneratorEigenfunctions.example()[0], fit.weights, {}, {}, {}, log)
    assert plot.loss(no_likelihood).axes[0].get_ylabel() == "loss"
    fit = bcg.Fit(fit.model, fit.weights, {}, {}, {}, [])
    with pytest.raises(DataError, match="no loss log"):
        plot.loss(fit)


def test_a_ramachandran_plot_of_the_published_frames(published, tmp_path):
    import mdtraj

    pdb = mdtraj.load(str(published / "ala2.pdb"))
    x = np.loadtxt(published / "dataset_50.txt").T.reshape(-1, 22, 3)
    frames = Frames.from_numpy(x, unit="angstrom", topology=pdb.topology, temperature=330.0)
    model = PredictiveCV(bcg.features.aligned(pdb), latent_dim=1, hidden=(8,))
    fit = bcg.fit(model, frames, steps=20, uncertainty="none", seed=0, compile="off", progress=False)
    axes = drawn(plot.ramachandran(fit, frames), tmp_path)
    shown = axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(
        shown[:, 0], np.rad2deg(mdtraj.compute_phi(mdtraj.Trajectory(x / 10, pdb.topology))[1][:, 0]), atol=0.05
    )
    assert len(axes[1].collections[0].get_offsets()) == 50
    assert plot.predictive_check(predictive_check(fit, frames, samples=200)).axes[-1].get_legend() is not None


def test_conformations_are_turned_in_the_figure_alone():
    molecule = bcg.systems.alanine_dipeptide()
    x = np.stack([molecule.start, molecule.start + 1.0]).astype(np.float32)
    frames = Frames.from_numpy(x.copy(), unit="nm", topology=molecule.topology, temperature=330.0)
    assert len(plot.conformations(frames).axes) == 2
    assert np.array_equal(np.asarray(frames.positions), x)


@pytest.mark.parametrize("share", [[0.0, 0.0, 1.0, 1.0], [0.3, 0.4, 0.6, np.nan]])
def test_mixing_draws_where_replicas_came_from(share, tmp_path):
    mixed = bcg.analysis.Mixing(np.full(3, 0.2), np.array(share), 4, 2, np.array([0.5, 0.4, 0.6]), np.zeros((2, 4)))
    left, right = drawn(plot.mixing(mixed), tmp_path)
    assert np.array_equal(left.lines[-1].get_ydata(), share, equal_nan=True)
    assert np.array_equal(right.lines[-1].get_ydata(), [0.5, 0.4, 0.6])
    assert [bar.get_height() for bar in right.patches] == [0.2, 0.2, 0.2]


def test_a_comparison_has_a_row_for_each_candidate(frames, tmp_path):
    candidates = {name: (lambda x, k=k: x.flatten(1)[:, :k]) for name, k in (("one", 1), ("two", 2), ("all", 4))}
    ordered = Frames.from_numpy(np.asarray(frames.positions), unit="reduced", dt=1.0, temperature_kT=1.0)
    table = bcg.analysis.compare(candidates, ordered, "vampe", lag=1.0, modes=1, blocks=5)
    left, right = drawn(plot.comparison(table), tmp_path)
    assert [text.get_text() for text in left.get_yticklabels()] == [row.name for row in table.rows]
    assert right.get_xlabel() == "difference from the best"
