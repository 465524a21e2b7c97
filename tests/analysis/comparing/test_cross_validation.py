"""Refits on folds: exact scores of what is solved in closed form, what training adds, and what is refused."""

from dataclasses import replace

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.signal import lfilter
from scipy.stats import multivariate_normal, t

import bayescg as bcg
from bayescg.analysis import compare, score_of
from bayescg.analysis.comparing import evidence_bounds
from bayescg.analysis.comparing.comparison_table import Compared, Comparison, estimate
from bayescg.data import Frames
from bayescg.distributions import Boltzmann
from bayescg.errors import ConfigError, DataError
from bayescg.modelling import Draws, SystemModel
from bayescg.models import Autoencoder, ForceMatchingPotential, HiddenMarkov, ReversibleDeepMSM, TimeLaggedAutoencoder
from tests.calibration import comparisons
from tests.calibration.comparisons import AT_ONCE, DIM, Factors, Gaussian

QUIET = {**AT_ONCE, "progress": False}
FACTORS = {f"{count} factors": Factors(count, DIM) for count in (1, 2, 3)}


@pytest.fixture(scope="module")
def frames():
    return comparisons.factor_frames(0, 0.0)


def test_scores_are_those_of_the_folds(frames):
    """Factor models are solved in closed form, and so are their scores: to the last digit, fold by fold."""
    table = compare(FACTORS, frames, folds=5, **QUIET)
    x = np.asarray(frames.positions, np.float64)
    for row in table.rows:
        exact = []
        for fold in np.split(np.arange(len(x)), 5):
            train = np.delete(x, fold, 0)
            cov = comparisons.of_factors(np.cov(train.T, bias=True), int(row.name[0]))
            exact.append(multivariate_normal.logpdf(x[fold], train.mean(0), cov).mean())  # type: ignore[arg-type]
        assert row.blocks == pytest.approx(exact, abs=1e-4)
    assert table.best == "2 factors"
    assert "1 factors" not in table.tied
    assert sum(row.stacking for row in table.rows if row.stacking) == pytest.approx(1.0)
    assert table["1 factors"].pseudo_bma == pytest.approx(0.0, abs=0.01)
    assert "cross-validated in 5 folds" in repr(table)


class Means(bcg.Model):
    """Frames N(m, 1) in two coordinates; so many of the means are free, N(0, 1) a priori, the others 0."""

    def __init__(self, free: int):
        super().__init__()
        self.free, self.mean = free, torch.nn.Parameter(torch.zeros(2))

    def model(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, 1.0).to_event(1), obs=batch.x)

    def guide(self, batch: bcg.Batch) -> None:
        """Nothing is hidden."""

    def solve(self, frames, weight) -> None:
        x = torch.as_tensor(frames.gather(slice(None)))
        with torch.no_grad():
            self.mean.copy_(torch.where(torch.arange(2) < self.free, x.sum(0) / (len(x) + 1), 0.0))

    def log_evidence(self, x: np.ndarray) -> float:
        """Exact, of frames (n, 2)."""
        covs = [np.eye(len(x)) + (k < self.free) for k in range(2)]
        return sum(multivariate_normal.logpdf(x[:, k], cov=cov) for k, cov in enumerate(covs))  # type: ignore[arg-type]

    @classmethod
    def example(cls):
        raise NotImplementedError


def test_nested_models_are_ordered_as_by_their_exact_evidence():
    x = np.random.default_rng(0).normal(size=(400, 2)) + np.array([0.5, 0.0])
    models = {f"{free} free": Means(free) for free in range(3)}
    evidence = {name: model.log_evidence(x) for name, model in models.items()}
    data = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    table = compare(models, data, folds=10, **QUIET)
    assert [row.name for row in table.rows] == sorted(evidence, key=evidence.__getitem__, reverse=True)
    assert "0 free" not in table.tied
    apart = 400 * table.difference("1 free", "0 free").mean
    assert apart == pytest.approx(evidence["1 free"] - evidence["0 free"], rel=0.1)  # by log n / 2, the prior's part


def test_what_training_adds_is_in_the_error():
    """Two densities that are equally good, with trainings that end by chance: how often is one called the better?"""
    rng, wrong = np.random.default_rng(0), {"trainings": 0, "folds": 0, "blocks alone": 0}

    def better(parts, **how):
        found = estimate(parts, **how)
        return bool(abs(found.mean) > t.ppf(0.975, found.dof) * found.se)

    for _ in range(1000):
        blocks = rng.normal(size=(2, 1, 20))
        ends = rng.normal(scale=0.5, size=(2, 4, 1))
        a, b = blocks + ends
        wrong["trainings"] += better({1: a, -1: b})
        wrong["blocks alone"] += better({1: a.mean(0)[None], -1: b.mean(0)[None]})
        a, b = rng.normal(size=(2, 1, 5)) + rng.normal(scale=3.0, size=(2, 1, 5))
        wrong["folds"] += better({1: a, -1: b}, refitted=True)
    assert wrong["trainings"] < 50 + 3 * 7  # of 1000 at 5 %; Satterthwaite's is on the safe side
    assert abs(wrong["folds"] - 50) < 3 * 7
    assert wrong["blocks alone"] > 150  # the control


def test_one_training_that_went_wrong_makes_no_winner():
    """One of four ends far off: three agree, and of the better one nothing is known; by blocks alone it would be."""
    rng = np.random.default_rng(0)
    blocks = 0.01 * rng.normal(size=(2, 1, 20))
    a, b = blocks + np.array([[0.0, 0.0, 0.0, -1.0], [0.0, 0.0, 0.0, 0.0]])[:, :, None]
    apart, alone = estimate({1: a, -1: b}), estimate({1: a.mean(0)[None], -1: b.mean(0)[None]})
    assert abs(apart.mean / apart.se) < 1.1
    assert abs(alone.mean / alone.se) > 20


def test_a_list_of_fits_is_one_candidate_with_its_trainings():
    frames, test = (comparisons.frames_of(seed, 0.0, 500) for seed in (0, 1))
    fits = [bcg.fit(Gaussian(0.3, 0.2), frames, seed=seed, uncertainty="none", **QUIET) for seed in range(3)]
    table = compare({"several": fits, "first": fits[0]}, test)
    assert table["several"].trainings.shape[0] == 3
    assert table["several"].trainings[0] == pytest.approx(table["first"].blocks)
    assert table.lone == ("first",)
    assert "one fit was scored of first" in repr(table)


def test_restarts_of_folds_are_averaged():
    frames = comparisons.frames_of(0, 0.0, 500)
    models = {"a": Gaussian(0.3, 0.2), "b": Gaussian(-0.3, 0.2)}
    table = compare(models, frames, folds=3, restarts=4, **QUIET)
    assert table["a"].trainings.shape == (4, 3)
    assert np.ptp(table["a"].trainings, 0).min() > 0  # seeds differ
    again = compare(models, frames, folds=3, restarts=4, **QUIET)
    assert np.array_equal(again["a"].trainings, table["a"].trainings)
    assert not np.array_equal(
        compare(models, frames, folds=3, restarts=4, seed=1, **QUIET)["a"].trainings, table["a"].trainings
    )


def test_folds_go_on_where_they_were_kept(frames, tmp_path):
    candidates = {name: FACTORS[name] for name in ("1 factors", "2 factors")}
    first = compare(candidates, frames, folds=3, out=tmp_path, **QUIET)
    records = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("run.json")}
    assert len(records) == 6
    next(iter(records)).unlink()
    again = compare(candidates, frames, folds=3, out=tmp_path, **QUIET)
    assert repr(again) == repr(first)
    assert sum(p.stat().st_mtime_ns != t for p, t in records.items()) == 1


def test_trainings_of_folds_that_have_not_converged_are_named(frames, tmp_path):
    """Also where their scores come from files; and only those."""
    models = {"trained": Autoencoder(latent_dim=2, hidden=())}
    how = {**QUIET, "steps": 60, "learning_rate": 3e-3, "folds": 3, "out": tmp_path}
    for table in (compare(models, frames, **how), compare(models, frames, **how)):
        (warning,) = (w for w in table.warnings if "converged" in w)
        assert warning.startswith("trained: 3 of 3 trainings have not converged, and another may score better")
        assert "use more steps" in warning
        assert table["trained"].unfinished > 0.01
    solved = compare({"solved": FACTORS["2 factors"]}, frames, folds=3, **QUIET)
    assert not solved.warnings
    assert solved["solved"].unfinished == 0


@pytest.mark.parametrize(("unfinished", "tied"), [(0.0, ["a"]), (0.05, ["a"]), (0.2, ["a", "b"])])
def test_what_trainings_still_lacked_counts_for_those_behind(unfinished, tied):
    """Ten standard errors behind: tied where as much may come by more steps."""
    blocks = np.zeros((1, 5))
    rows = Compared("a", 0.0, 0.01, 0.0, 0.0, 4, blocks), Compared("b", -0.1, 0.01, -0.1, 0.01, 4, blocks)
    assert Comparison((rows[0], replace(rows[1], unfinished=unfinished)), "log_score", None, ()).tied == tied


@pytest.mark.slow
def test_an_unconverged_fit_makes_no_third_cv():
    """Twenty data sets of two linear factors: by one fit of each, three CVs are better than two in many of them."""
    settings = {"steps": 600, "compile": "trace", "validation": 0.1, "learning_rate": 0.02, "batch_size": 128}
    settings |= {"progress": False, "device": "cpu"}
    wrong = {"one fit": 0, "folds": 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        z, loadings = rng.normal(size=(2000, 2)), rng.normal(size=(2, 6))
        x = z @ (loadings / np.linalg.norm(loadings, axis=0)) + 0.5 * rng.normal(size=(2000, 6))
        data = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
        train, test = data.split(test=0.3, seed=seed)
        models = {f"{count} CVs": Autoencoder(latent_dim=count, hidden=()) for count in (2, 3)}
        fits = {n: bcg.fit(m, train, uncertainty="none", seed=seed, **settings) for n, m in models.items()}
        wrong["one fit"] += compare(fits, test).tied == ["3 CVs"]
        wrong["folds"] += compare(models, data, folds=5, seed=seed, **settings).tied == ["3 CVs"]
    assert wrong["one fit"] >= 6  # 12 when this was written
    assert wrong["folds"] <= 1  # none


@pytest.mark.slow
def test_processes_give_the_scores_of_one(frames):
    models = {"1": Autoencoder(latent_dim=1, hidden=(4,)), "2": Autoencoder(latent_dim=2, hidden=(4,))}
    how = {**QUIET, "steps": 5, "folds": 3}
    alone, shared = (compare(models, frames, workers=workers, **how) for workers in (0, 2))
    for name in models:
        assert shared[name].blocks == pytest.approx(alone[name].blocks, abs=1e-6)


def test_a_fit_is_trained_again_as_it_was(frames):
    settings = {**QUIET, "steps": 7, "uncertainty": "none"}
    fits = {"2": bcg.fit(Autoencoder(latent_dim=2, hidden=(4,)), frames, **settings)}
    as_it_was = compare(fits, frames, folds=3, compile="off", device="cpu")
    models = {"2": Autoencoder(latent_dim=2, hidden=(4,))}
    assert as_it_was["2"].blocks == pytest.approx(compare(models, frames, folds=3, **settings)["2"].blocks, abs=1e-5)


@pytest.mark.slow
def test_folds_find_the_states_that_are_missing():
    """Deep MSMs of the four wells of a potential: two states are too few by the density and by the modes."""
    frames = bcg.sampling.overdamped(bcg.systems.Prinz(), 3000, dt=0.0005, chains=20, stride=20, device="cpu")
    models = {f"{m} states": ReversibleDeepMSM(states=m, hidden=(8,)) for m in (2, 4)}
    how = {**QUIET, "steps": 60, "learning_rate": 0.02, "lag": 0.05, "folds": 4}
    by_density = compare(models, frames, **how)
    assert by_density.tied == ["4 states"]
    assert by_density.lag == 0.05
    by_modes = compare(models, frames, "vampe", modes={"2 states": 1, "4 states": 3}, **how)
    assert by_modes.tied == ["4 states"]
    assert repr(compare(models, frames, "vampe", **how)) == repr(by_modes)  # as many as each has


@pytest.fixture(scope="module")
def two_memories():
    """A coordinate that is strong and forgets soon, and one that is weak and remembers."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(4000, 2)) * np.sqrt(1 - np.square([0.6, 0.97]))
    x = np.column_stack([lfilter([1.0], [1.0, -kept], noise[:, k]) for k, kept in enumerate((0.6, 0.97))])
    return Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)


def test_modes_of_folds_are_scored_on_frames_that_they_were_not_found_on(two_memories):
    """One function in closed form: what VAMP-E is on each fold, by hand."""
    table = compare({"x": TimeLaggedAutoencoder(latent_dim=1, hidden=())}, two_memories, "vampe", lag=1.0, modes=1,
                    folds=4, **QUIET)  # fmt: skip
    assert table["x"].blocks.shape == (4,)
    x = np.asarray(two_memories.positions, np.float64)
    fits, exact = [], []
    for k, fold in enumerate(np.split(np.arange(4000), 4)):
        mask = np.ones(4000, bool)
        mask[fold] = False
        seed = int(np.random.SeedSequence([0, 0, k, 0]).generate_state(1)[0] // 2)
        train = two_memories.subset(mask)
        fits.append(
            bcg.fit(
                TimeLaggedAutoencoder(latent_dim=1, hidden=()),
                train.lagged(1.0),
                uncertainty="none",
                seed=seed,
                **QUIET,
            )
        )
        f = fits[-1].model.basis(torch.as_tensor(x).float()).detach().double().numpy()[:, 0]
        runs = [f[fold]], [part for part in (f[: fold[0]], f[fold[-1] + 1 :]) if len(part)]
        held, trained = (
            np.stack([np.concatenate([r[:-1] for r in rs]), np.concatenate([r[1:] for r in rs])]) for rs in runs
        )
        mean = np.mean(trained)
        scale = np.std(trained)
        nu = 1 - 0.5 * np.mean((trained[1] - trained[0]) ** 2) / scale**2
        variance, lost = np.square(held - mean).mean() / scale**2, np.square(held[1] - held[0]).mean() / (2 * scale**2)
        exact.append(1 + 2 * nu * (variance - lost) - (nu * variance) ** 2)
    assert table["x"].blocks == pytest.approx(exact, abs=2e-3)


def test_a_mode_of_the_wrong_lag_falls_behind(two_memories):
    """At a lag of 1 frame both coordinates remember, at 20 the weak one alone."""
    candidates = {"for 1 frame": lambda x: 0.9 * x[:, :1] + 0.3 * x[:, 1:], "for 20 frames": lambda x: x[:, 1:]}
    table = compare(candidates, two_memories, "vampe", lag=20.0, modes=1)
    assert table.tied == ["for 20 frames"]


def test_models_of_other_lags_are_trained_at_these_and_compared_at_one():
    """At a lag of 1 a fast coordinate foretells more than a slow one that is read with an error, and at 30 nothing.

    Exact of the slow one, read as y + e: correlation r^30 / (1 + Var e); VAMP-E is one more than its square.
    """
    rng, memories, error = np.random.default_rng(0), np.array([0.9, 0.99]), 0.8
    noise = rng.normal(size=(8000, 2)) * np.sqrt(1 - memories**2)
    x = np.column_stack([lfilter([1.0], [1.0, -r], noise[:, k]) for k, r in enumerate(memories)])
    x[:, 1] += error * rng.normal(size=len(x))
    frames = Frames.from_numpy(x, unit="reduced", dt=1.0, temperature_kT=1.0)
    models = {f"lag {t:g}": TimeLaggedAutoencoder(latent_dim=1, hidden=(), lag=t) for t in (1.0, 20.0, 30.0)}
    assert score_of(list(models.values())) == "vampe"
    how = {**QUIET, "steps": 50, "learning_rate": 0.1, "batch_size": 512, "folds": 4}
    table = compare(models, frames, "vampe", lag=30.0, **how)
    assert set(table.tied) == {"lag 20", "lag 30"}
    exact = {"lag 1": 0.9**30, "lag 20": 0.99**30 / (1 + error**2), "lag 30": 0.99**30 / (1 + error**2)}
    assert all(abs(row.score - 1 - exact[row.name] ** 2) < 4 * row.se for row in table.rows)
    with pytest.raises(ConfigError, match="give one lag= to compare them at"):
        compare(models, frames, "vampe", **how)
    with pytest.raises(ConfigError, match="fit them at one lag, or compare their modes"):
        compare(models, frames, lag=30.0, **how)


def test_forces_find_the_potential():
    system = bcg.systems.RippledWell()
    x = torch.as_tensor(bcg.sampling.equilibrium(system, 800).positions)
    forces = system.forces(x)[:, :1].numpy()
    frames = Frames.from_numpy(x[:, :1].numpy(), unit="reduced", temperature_kT=1.0, forces=forces)
    exact = system.mean_potential
    scaled = bcg.systems.from_function(lambda y: 1.3 * exact.energy(y), dim=1, temperature_kT=1.0)
    table = compare({"exact": exact, "too deep": scaled}, frames, "forces")
    assert table.tied == ["exact"]
    missed = np.square(forces - exact.forces(x[:, :1]).numpy()).mean()
    assert table["exact"].score == pytest.approx(-missed, rel=1e-5)
    splines = {f"{k} splines": ForceMatchingPotential(form="splines", knots=k) for k in (4, 12)}
    refitted = compare(splines, frames, "forces", folds=3, **{**QUIET, "steps": 5})
    assert refitted.best == "12 splines"


class Proposal(SystemModel):
    """A Gaussian of the wrong place and width for a system, and nothing to train: bounds of log Z are exact."""

    needs_frames, uncertainty = False, "none"

    def __init__(self, system, shift: float = 0.0, width: float = 1.0):
        super().__init__()
        self.begin(system, None, 50.0)
        self.shift, self.width, self.nothing = shift, width, torch.nn.Parameter(torch.zeros(()))

    def guide(self, batch: bcg.Batch) -> None:
        size = self.system.dim
        with batch.plate("frames"):
            mean = torch.full((len(batch), size), self.shift) + self.nothing
            pyro.sample("x", dist.Normal(mean, self.width).to_event(1))

    def model(self, batch: bcg.Batch) -> None:
        with batch.plate("frames"):
            pyro.sample("x", Boltzmann(self.system))

    @classmethod
    def example(cls):
        raise NotImplementedError


def proposals(candidates, system=None):
    system = system or bcg.systems.Harmonic((1.0, 1.0))
    return {name: bcg.fit(Proposal(system, *arguments), **QUIET) for name, arguments in candidates.items()}


def test_bounds_of_log_z_are_exact():
    """By Gaussians of another place and width: both bounds, and between them log Z = log 2 pi."""
    table = compare(proposals({"near": (0.1, 1.0), "far": (0.3, 1.3)}), score="log_z", samples=20_000)
    assert table.tied == ["near"]
    exact = np.log(2 * np.pi)
    for name, shift, width in (("near", 0.1, 1.0), ("far", 0.3, 1.3)):
        bounds = table.bounds[name]
        below = 2 * (0.5 * (width**2 + shift**2 - 1) - np.log(width))
        above = 2 * (0.5 * (1 + shift**2) / width**2 - 0.5 + np.log(width))
        assert abs(bounds.lower - (exact - below)) < 4 * bounds.lower_se
        assert abs(bounds.estimate - exact) < 4 * bounds.estimate_se
        assert abs(bounds.upper - (exact + above)) < 4 * bounds.upper_se
        assert bounds.lower < bounds.estimate < bounds.upper
        assert table[name].score == pytest.approx(bounds.lower, abs=1e-3)
    assert "log Z between" in repr(table)


def test_partition_functions_are_of_one_system():
    fits = proposals({"a": ()}) | {"b": proposals({"b": ()}, bcg.systems.Harmonic((1.0, 2.0)))["b"]}
    with pytest.raises(ConfigError, match="a and b learned from different systems"):
        compare(fits, score="log_z", samples=1000)


REFUSED = {
    "few folds": ({"a": Gaussian(0.0)}, {"folds": 2}, ConfigError, "folds=2"),
    "functions": ({"a": lambda x: x}, {"folds": 3, "score": "vamp2", "lag": 1.0}, ConfigError, "nothing to refit"),
    "untrained": ({"a": Gaussian(0.0)}, {}, ConfigError, "give fits, or folds="),
    "training of nothing": (
        {"a": lambda x: x},
        {"score": "vamp2", "lag": 1.0, "steps": 10},
        ConfigError,
        "steps: nothing",
    ),
    "too few frames": ({"a": Gaussian(0.0)}, {"folds": 200}, DataError, "too few for 200 folds"),
    "lists": ({"a": [Gaussian(0.0), Gaussian(0.0)]}, {"folds": 3}, ConfigError, "a is a list"),
    "one fit as two": ({"a": [Gaussian(0.0)] * 2}, {"folds": 3}, ConfigError, "a: one fit is in its list twice"),
    "empty list": ({"a": []}, {"folds": 3}, ConfigError, "no fit in its list"),
    "forces that are not there": (
        {"a": ForceMatchingPotential()},
        {"score": "forces", "folds": 3},
        DataError,
        "no forces",
    ),
    "misspelt": (
        {"a": Gaussian(0.0)},
        {"folds": 3, "stepz": 3},
        ConfigError,
        'stepz is neither .* did you mean "steps"',
    ),
    "many blocks": (
        {"a": Gaussian(0.0)},
        {"blocks": 1000},
        DataError,
        "100 frames or pairs are too few for 1000 blocks",
    ),
    "modes of a density": ({"a": Gaussian(0.0)}, {"folds": 3, "modes": 1}, ConfigError, "modes= is of slow modes"),
    "a lag of none": ({"a": Gaussian(0.0)}, {"folds": 3, "lag": 3.0}, ConfigError, "of these has no lag"),
    "a lag between frames": (
        {"a": TimeLaggedAutoencoder(latent_dim=1, hidden=())},
        {"folds": 3, "score": "vampe", "lag": 2.5},
        DataError,
        "lag 2.5 is not a positive multiple",
    ),
    "two lags": (
        {"a": HiddenMarkov(cells=[0.0]), "b": HiddenMarkov(cells=[0.0], lag=2.0)},
        {"folds": 3},
        ConfigError,
        r"different lags are of different things \(trained at a: 1, b: 2\)",
    ),
    "folds of energies": ({"a": Gaussian(0.0)}, {"score": "log_z", "restarts": 3}, ConfigError, "takes no frames, re"),
    "different": ({"a": Gaussian(0.0), "b": ForceMatchingPotential()}, {"folds": 3}, ConfigError, "different spaces"),
    "frames of energies": ({"a": Gaussian(0.0)}, {"score": "log_z"}, ConfigError, "it takes no frames"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_cross_validated_is_refused(case):
    fits, arguments, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        compare(fits, comparisons.frames_of(0, 0.0, 100), progress=False, **arguments)


def test_parts_of_draws_hold_all_components_of_a_generator():
    """Components take turns; one that has next to no weight is no part of its own, or its score would count as much."""
    log_weight, log_share = (torch.tensor(pair).repeat(1000).double() for pair in ([0.0, -50.0], [0.69, -9.0]))
    draws = Draws(torch.zeros(2000, 1), log_weight, log_share, log_weight)
    parts = [evidence_bounds._bounds(part)[0] for part in evidence_bounds._parts(draws)]
    assert parts == pytest.approx([evidence_bounds._bounds(evidence_bounds._whole(draws))[0]] * 20)


def test_stretches_of_any_length_are_scored_on_the_same():
    """On those that the first candidate makes: of one state nothing else tells them apart."""
    data = comparisons.frames_of(0, 0.0, 600)
    models = {str(n): HiddenMarkov(cells=[0.0], states=1, stretch=n) for n in (20, 50)}
    table = compare(models, data, folds=3, progress=False)
    assert table["20"].trainings.shape == table["50"].trainings.shape
    assert table["20"].blocks == pytest.approx(table["50"].blocks, abs=1e-2)


def test_a_fit_among_models_is_trained_as_it_was_and_that_is_said(frames):
    fits = {
        "as it was": bcg.fit(FACTORS["2 factors"], frames, **{**QUIET, "batch_size": 64}),
        "by defaults": FACTORS["1 factors"],
    }
    (warning,) = (w for w in compare(fits, frames, folds=3, steps=1, progress=False).warnings if "is a fit" in w)
    assert "as it was is a fit, and trained again as it was" in warning
    assert "batch_size=64" in warning
    assert not any("is a fit" in w for w in compare(fits, frames, folds=3, batch_size=64, **QUIET).warnings)


def test_a_lag_that_is_most_of_a_trajectory_is_warned_of(two_memories):
    functions = {"x": lambda x: x[:, :1]}
    for lag, warned in ((1000.0, False), (2500.0, True)):
        table = compare(functions, two_memories, "vampe", lag=lag, modes=1, blocks=3)
        assert any("more than half of the longest trajectory" in w for w in table.warnings) == warned


def test_names_that_are_none_are_refused_with_those_that_are(frames):
    table = compare({1: FACTORS["1 factors"], 2: FACTORS["2 factors"]}, frames, folds=3, **QUIET)  # type: ignore[dict-item]
    assert "\n  2 " in repr(table)
    for ask in (lambda: table["3"], lambda: table.verdict("3"), lambda: table.difference("1", "3")):
        with pytest.raises(ConfigError, match="there is no '3' here, only"):
            ask()


def test_a_density_of_nothing_is_refused():
    frames = comparisons.frames_of(0, 0.0, 100)
    fit = bcg.fit(Gaussian(0.0), frames, uncertainty="none", **QUIET)
    with torch.no_grad():
        fit.weights.point["off"].fill_(torch.inf)
    with pytest.raises(DataError, match="not finite for 100 of 100 frames"):
        compare({"a": fit}, frames)
