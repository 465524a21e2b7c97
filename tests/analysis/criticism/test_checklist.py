"""One table of checks: right models pass, and of planted misfits each is found, by the row that is about it."""

from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import kstest, norm

import bayescg as bcg
from bayescg.analysis import checklist, prior_check
from bayescg.analysis.criticism.checklist import dynamics
from bayescg.analysis.criticism.checklist_table import Check, Checklist
from bayescg.analysis.criticism.smooth_test import components, pit, smooth_test
from bayescg.analysis.fit_checks import was_trained_on
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.models import Autoencoder, VariationalDynamicsEncoder
from tests.calibration import predictions


class Generates:
    """Stands in for a fit: configurations by a function of a generator and a size."""

    model = frames = None

    def __init__(self, make, draws=1):
        self.make, self.draws = make, draws

    def generate(self, count, draws=None, seed=0):
        rng = np.random.default_rng([seed, 9])
        return torch.as_tensor(np.stack([self.make(rng, count) for _ in range(self.draws)]))


def gauss(rng, n):
    return rng.normal(size=(n, 3))


def one(rng, n):
    return rng.normal(size=(n, 1))


def frames_of(make, n=2000, seed=0, **more):
    return Frames.from_numpy(make(np.random.default_rng(seed), n), unit="reduced", temperature_kT=1.0, **more)


def checked(make, frames, **more: Any) -> Checklist:
    fit: Any = Generates(make)
    return checklist(fit, frames, samples=4000, **more)


def test_a_right_model_passes():
    table = checked(gauss, frames_of(gauss))
    assert table.passed
    assert [row.name for row in table.rows] == ["x1", "x2", "x3", "all coordinates"]
    assert "4 checks, all pass" in repr(table)
    assert table.to_dataframe().loc["x1", "verdict"] == "passes"


def test_an_observable_that_remembers_too_long_is_left_out_and_named():
    """Of frames that are worth many draws of one coordinate and few of another."""
    x = np.random.default_rng(0).normal(size=(1000, 3))
    x[:, 2] = lfilter([0.02], [1.0, -0.9998], x[:, 2])
    table = checked(gauss, Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0))
    assert [row.name for row in table.rows] == ["x1", "x2"]
    assert [words.partition(":")[0] for words in table.skipped] == [
        "not checked, x3", "not checked, all coordinates"
    ]  # fmt: skip
    assert "not checked, x3: 1000 frames are worth" in repr(table)


def shifted(rng, n):
    return rng.normal(size=(n, 3)) + np.array([0.0, 0.3, 0.0])


def two_humps(rng, n):
    """The average and the spread of the right one, and two humps."""
    x = rng.normal(size=(n, 3))
    x[:, 0] = 0.6**0.5 * np.sign(x[:, 0]) + 0.4**0.5 * rng.normal(size=n)
    return x


def correlated(rng, n):
    """Each coordinate is right, but two of them hang together."""
    x = rng.normal(size=(n, 3))
    x[:, 1] = 0.5 * x[:, 0] + 0.75**0.5 * x[:, 1]
    return x


@pytest.mark.parametrize(
    ("truth", "failing"), [(shifted, {"x2", "all coordinates"}), (two_humps, {"x1"}), (correlated, {"all coordinates"})]
)
def test_each_planted_misfit_is_found_by_the_row_that_is_about_it(truth, failing):
    table = checked(gauss, frames_of(truth))
    assert set(table.failed) - {"all coordinates"} == failing - {"all coordinates"}
    assert failing <= set(table.failed)
    assert not table.passed
    assert "FAILS" in repr(table)


def test_energies_find_what_observables_do_not():
    """Bonds that are a little too wide cost much energy."""
    system = bcg.systems.Harmonic((1.0, 1.0, 400.0))

    def right(rng, n, stiff=400.0):
        return rng.normal(size=(n, 3)) / np.sqrt([1.0, 1.0, stiff])

    table = checked(
        lambda rng, n: right(rng, n, 250.0), frames_of(right), observables=[lambda x: x[:, 0]], system=system
    )
    assert "energy" in table.failed
    assert table["energy"].seen == pytest.approx(1.5, abs=0.1)
    assert table["energy"].predicted > 1.7


def test_pair_distances_of_molecules_are_checked_together():
    _, positions = bcg.systems.peptide("ACE-ALA-NME")
    top, _ = bcg.systems.peptide("ACE-ALA-NME")
    still = np.asarray(positions.value_in_unit(positions.unit))

    def molecule(rng, n, twist=1.0):
        x = still + 0.005 * rng.normal(size=(n, *still.shape))
        x[:, 10:] += 0.03 * twist * rng.normal(size=(n, 1, 3))
        return x

    frames = Frames.from_numpy(molecule(np.random.default_rng(0), 400), unit="nm", temperature=300.0, topology=top)
    table = checked(molecule, frames)
    assert [r.name.split()[0] for r in table.rows] == ["rg", "rmsd", "end_to_end", "phi", "psi", "pair"]
    assert table.passed
    assert "pair distances" in checked(lambda rng, n: molecule(rng, n, 1.3), frames).failed


def test_dynamics_with_memory_fails_its_correlations():
    """A mode whose noise is itself slow is not Markovian at a lag of one frame; one without memory is."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=20_000)
    plain = lfilter([1.0], [1.0, -0.9], noise)
    hidden = lfilter([1.0], [1.0, -0.95], noise) + 3.0 * rng.normal(size=20_000)  # what is seen is not all there is
    for x, fails in ((plain, False), (hidden, True)):
        frames = Frames.from_numpy(np.reshape(x, (-1, 1)), unit="reduced", dt=1.0, temperature_kT=1.0)
        rows = dynamics(lambda y: y, frames, 1, 0, lag=1.0)
        assert (rows[0].p < 1e-3) == fails


def test_fits_that_generate_nothing_are_checked_for_their_dynamics():
    model, pairs, _ = VariationalDynamicsEncoder.example()
    fit = bcg.fit(model, pairs, steps=5, uncertainty="none", compile="off", device="cpu", progress=False)
    frames = predictions.frames_of(0, 0.9, 4000)
    x = np.repeat(np.asarray(frames.positions), pairs.frames.dim, 1)
    table = checklist(fit, Frames.from_numpy(x, unit="reduced", dt=pairs.lag, temperature_kT=1.0), seed=1)
    assert [row.kind for row in table.rows] == ["dynamics"]
    assert "not checked, the distribution of frames" in table.skipped[0]


@pytest.mark.slow  # by default: those of few configurations, below
def test_p_values_are_uniform_where_the_model_is_right():
    """Of 60 data sets, independent and correlated; and not where the model is too sure of itself."""
    p = {}
    for name, how in {"independent": (0.0, 400), "correlated": (0.9, 4000)}.items():
        p[name] = [predictions.of_checklist(seed, *how)["p"].mean for seed in range(60)]
        assert kstest(p[name], "norm").pvalue > 0.001
    sure = [predictions.of_checklist(seed, 0.0, 400, sure=True)["p"].mean for seed in range(60)]
    assert kstest(sure, "norm").pvalue < 0.001


def test_p_values_are_uniform_where_few_configurations_are_generated():
    """Of more frames than configurations, whose chance is most of the error and known from ten batches alone."""
    fit: Any = Generates(gauss)
    tables = [checklist(fit, frames_of(gauss, 2000, seed), samples=500, seed=seed) for seed in range(60)]
    assert sum(not table.passed for table in tables) <= 4  # in 999 of 1000 series of right models
    assert kstest([table["all coordinates"].p for table in tables], "uniform").pvalue > 0.001


def test_components_of_uniform_numbers_are_standard_and_uncorrelated():
    u = (np.arange(100_000) + 0.5) / 100_000
    c = components(u, 4)
    assert c.mean(0) == pytest.approx(np.zeros(4), abs=1e-6)
    assert c.T @ c / len(c) == pytest.approx(np.eye(4), abs=1e-6)
    assert pit(np.array([2.0]), np.array([1.0, 2.0, 2.0, 3.0])) == pytest.approx(0.5)


def test_the_chance_of_generated_configurations_counts():
    """What a few configurations leave open is not held against the model; what they say alike, batch by batch, is."""
    rng = np.random.default_rng(0)
    scores, blocks = rng.normal(size=(100_000, 1)), np.arange(100_000) // 1000
    off = rng.normal(scale=0.1, size=(1, 10, 1))
    off += 0.05 - off.mean()
    even = np.full((1, 10, 1), 0.05)
    assert smooth_test(scores, np.ones(100_000), blocks, 1.0, off) > 0.01
    assert smooth_test(scores, np.ones(100_000), blocks, 1.0, even) < 0.001


def test_holm_stops_at_the_first_that_passes():
    rows = [Check(str(k), "distribution", 0.0, 0.0, "", p) for k, p in enumerate((0.004, 0.9, 0.0001, 0.006))]
    assert Checklist(tuple(rows), 0.01).failed == ["2"]  # 0.004 > 0.01 / 3
    assert Checklist(tuple(rows), 0.02).failed == ["0", "2", "3"]


def test_folds_check_what_they_did_not_see():
    """Ten CVs of forty frames learn these by heart: the frames of other folds tell."""
    frames = frames_of(gauss, 300)
    settings: Any = {"steps": 40, "compile": "off", "device": "cpu", "learning_rate": 0.02, "uncertainty": "none"}
    table = checklist(Autoencoder(latent_dim=1, hidden=(4,)), frames, folds=3, samples=500, **settings)
    assert [row.name for row in table.rows] == ["x1", "x2", "x3", "all coordinates"]
    assert all(0 <= row.p <= 1 for row in table.rows)


@pytest.mark.parametrize(
    ("subject", "frames", "arguments", "error", "message"),
    [
        (Autoencoder(), frames_of(gauss), {}, ConfigError, "give a fit, or folds="),
        (Generates(gauss), frames_of(gauss), {"steps": 3}, ConfigError, "nothing is trained but with folds="),
        (Generates(gauss), frames_of(gauss, 9), {}, DataError, "9 frames are too few"),
        (Generates(gauss), frames_of(gauss), {"level": 1.0}, ConfigError, "level"),
        (Generates(gauss), frames_of(gauss), {"samples": 5}, ConfigError, "samples"),
        (Generates(gauss), frames_of(gauss), {"observables": [lambda x: x.sum()]}, DataError, "one value"),
        (
            Generates(gauss),
            frames_of(gauss),
            {"system": bcg.systems.Harmonic((1.0,) * 5)},
            DataError,
            "frames lack 2 of the system's 5 coordinates, .* or leave out system=",
        ),
        (
            Generates(gauss),
            frames_of(gauss),
            {"system": bcg.systems.Harmonic((1.0,))},
            DataError,
            "frames have 3 coordinates, the system 1",
        ),
        (Generates(gauss), predictions.frames_of(0, 0.9, 300), {}, DataError, "3 coordinates, and the frames have 1"),
        (Generates(one), predictions.frames_of(0, 0.999, 300), {}, DataError, "nothing can be checked: .*too few"),
    ],
)
def test_what_cannot_be_checked_is_refused(subject, frames, arguments, error, message):
    with pytest.raises(error, match=message):
        checklist(subject, frames, **arguments)


def test_a_model_without_frames_or_modes_is_refused():
    model, frames, _ = bcg.models.ForceMatchingPotential.example()
    fit = bcg.fit(model, frames, steps=1, uncertainty="none", compile="off", device="cpu", progress=False)
    with pytest.raises(ModelError, match="generates no frames"):
        checklist(fit, frames)


class Prior(bcg.Model):
    """One mean, N(0, width^2) a priori; frames N(mean, 1)."""

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.width, self.mean = width, torch.nn.Parameter(torch.zeros(()))

    def model(self, batch: bcg.Batch) -> None:
        mean = pyro.sample("mean", dist.Normal(torch.zeros(()), self.width))
        with batch.plate("frames"):
            obs = None if batch.x is None else batch.x
            pyro.sample("x", dist.Normal(mean.expand(len(batch), 1), 1.0).to_event(1), obs=obs)

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    @classmethod
    def example(cls):
        raise NotImplementedError


def test_a_prior_that_rules_out_what_is_seen_fails():
    frames = frames_of(lambda rng, n: 2.0 + rng.normal(size=(n, 1)))
    wide, narrow = (prior_check(Prior(width), frames) for width in (2.0, 0.1))
    assert wide.passed
    assert narrow.failed == ["x1"]
    assert wide["x1"].p == pytest.approx(2 * norm.sf(1.0), abs=0.06)  # two widths and the error of 200 frames
    with pytest.raises(ModelError, match="no parameter of Autoencoder has a prior"):
        prior_check(Autoencoder(), frames)


class Angle:
    name, unit = "angle", "rad"

    def __call__(self, x):
        return torch.remainder(x[:, 0] + 2 * np.pi, 2 * np.pi) - np.pi


def test_angles_have_circular_averages():
    """Of angles of 3.1 ± 1, which lie on both sides of where the circle is cut, in frames and in draws of a prior."""
    frames = frames_of(lambda rng, n: -0.04 + rng.normal(size=(n, 1)), 500)
    row = checked(lambda rng, n: rng.normal(size=(n, 1)), frames, observables=Angle())["angle"]
    wanted = np.angle(np.exp(1j * (np.asarray(frames.positions[:, 0], np.float64) + np.pi)).mean())
    assert row.seen == pytest.approx(wanted, abs=1e-5)
    assert abs(np.angle(np.exp(1j * (row.predicted - np.pi)))) < 0.1
    assert row.p > 0.01
    right, apart = (
        prior_check(Prior(0.3), f, Angle(), draws=300) for f in (frames, frames_of(lambda rng, n: np.full((n, 1), 2.5)))
    )
    assert right.passed
    assert abs(np.angle(np.exp(1j * (right["angle"].predicted - np.pi)))) < 0.1
    assert apart.failed == ["angle"]


def test_priors_are_checked_by_as_many_draws_as_can_fail_them():
    """A table of more checks needs more draws: the least p has to lie below the level over their number."""
    frames = frames_of(lambda rng, n: 9.0 + rng.normal(size=(n, 1)), 50)
    observables = [lambda x, k=k: x[:, 0] + k for k in range(6)]
    assert len(prior_check(Prior(0.1), frames, observables, samples=2).failed) == 6
    assert not prior_check(Prior(0.1), frames, observables, samples=2, draws=120, level=0.1).passed
    with pytest.raises(ConfigError, match=r"draws=100 are too few to tell: 6 observables at level 0\.01 need 1200"):
        prior_check(Prior(0.1), frames, observables, draws=100)


def test_the_reference_of_rmsd_is_that_of_the_model():
    top, positions = bcg.systems.peptide("ACE-ALA-NME")
    still = np.asarray(positions.value_in_unit(positions.unit))
    x = still + 0.01 * np.random.default_rng(0).normal(size=(60, *still.shape))
    frames = Frames.from_numpy(x, unit="nm", temperature=300.0, topology=top)
    model = bcg.models.PredictiveCV(bcg.features.aligned(frames[:30]), latent_dim=1)
    fit = bcg.fit(model, frames[:30], steps=1, uncertainty="none", compile="off", device="cpu", progress=False)
    tables = (
        checklist(fit, frames[30:], "rmsd", samples=100),
        prior_check(model, frames[30:], "rmsd", level=0.1, draws=20),
    )
    assert tables[0]["rmsd"].seen == pytest.approx(tables[1]["rmsd"].seen, rel=1e-6)
    assert [row.name for row in checklist(fit, frames[30:], "rg", samples=100).rows] == ["rg", "pair distances"]


def test_frames_of_the_training_are_noticed():
    """By their positions, where these are of many values; of few, other frames are alike as well."""
    model, frames, _ = bcg.models.PredictiveCV.example()
    settings: Any = {"steps": 1, "uncertainty": "none", "compile": "off", "device": "cpu", "progress": False}
    for part, words in ((frames[:40], 1), (frames[40:], 0)):
        table = checklist(bcg.fit(model, frames[:40], **settings), part, samples=100)
        assert len(table.warnings) == words
        assert ("trained on some of these frames" in repr(table)) == bool(words)
    cells = Frames.from_numpy(np.random.default_rng(0).integers(5, size=(400, 1)), unit="reduced", temperature_kT=1.0)
    hidden = bcg.models.Autoencoder(latent_dim=1, hidden=(4,))
    assert not was_trained_on(bcg.fit(hidden, cells[:200], **settings), cells[200:])
