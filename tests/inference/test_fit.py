"""The training loop: determinism, tracing, early stopping, and every refusal."""

import threading

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg import checkpoint
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, DeviceError, FitError, ModelError
from bayescg.inference.uncertainty import CHOICES
from bayescg.modelling.model import check_programs
from bayescg.models import PredictiveCV
from bayescg.recording.functional import functional_random, seeded, state_of


def small() -> PredictiveCV:
    return PredictiveCV(latent_dim=1, hidden=(4,))


def train(frames, model=None, **settings):
    defaults = {"steps": 12, "uncertainty": "none", "members": 3, "batch_size": 16, "learning_rate": 1e-2}
    return bcg.fit(model or small(), frames, **{**defaults, **settings})


def same(a, b) -> bool:
    first, second = {**state_of(a.model), **a.weights.tensors}, {**state_of(b.model), **b.weights.tensors}
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


@pytest.mark.parametrize(
    "uncertainty", [c if c in ("laplace", "bootstrap") else pytest.param(c, marks=pytest.mark.slow) for c in CHOICES]
)
def test_one_seed_gives_one_result_whatever_the_process_did_before(toy_frames, uncertainty):
    frames = toy_frames()
    first = train(frames, uncertainty=uncertainty)
    torch.rand(7)
    np.random.rand(3)  # noqa: NPY002
    torch.manual_seed(12345)
    train(frames, seed=8)
    assert same(train(frames, uncertainty=uncertainty), first)
    assert not same(train(frames, uncertainty=uncertainty, seed=1), first)


def test_a_fit_of_correlated_frames_neither_reads_nor_moves_global_generators(toy_frames):
    frames = toy_frames(200, dt=1.0)
    states = torch.random.get_rng_state(), str(np.random.get_state())  # noqa: NPY002
    first = train(frames)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert str(np.random.get_state()) == states[1]  # noqa: NPY002
    torch.manual_seed(999)
    again = train(frames)
    assert same(again, first)
    assert again.diagnostics == first.diagnostics


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"uncertainty": "mean-field"},
        {"uncertainty": "bootstrap"},
        {"objective": "iwae", "particles": 3},
    ],
    ids=str,
)
def test_traced_equals_plain_bit_for_bit(toy_frames, settings, dtype):
    frames = toy_frames(dtype=dtype)
    traced, plain = (train(frames, compile=mode, **settings) for mode in ("trace", "off"))
    assert traced.diagnostics["compiled"] == "trace"
    assert plain.diagnostics["compiled"] == "off"
    assert same(traced, plain)
    assert traced.log == plain.log


class Mean(bcg.Model):
    """x ~ N(mean, 1), nothing random."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(1))

    def spread(self, batch):
        return 1.0

    def model(self, batch):
        with batch.plate("frames"):
            pyro.sample("x", dist.Normal(self.mean, self.spread(batch)).to_event(1), obs=batch.x)

    def guide(self, batch):
        """Nothing to propose."""

    def config(self):
        return {}

    @classmethod
    def example(cls):
        return cls(), Frames.from_numpy(np.ones((4, 1)), unit="reduced", temperature_kT=1.0), None


class KeepsCount(Mean):
    """Counts its own runs in Python, which a recording would freeze in silence."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def spread(self, batch):
        self.runs += 1
        return 1.0 + 0.5 * (self.runs % 2)


def test_a_program_that_cannot_be_recorded_runs_plainly_and_says_so(toy_frames):
    frames = toy_frames(dim=1)
    with pytest.warns(UserWarning, match="runs plainly"):
        fit = train(frames, KeepsCount(), compile="trace")
    assert fit.diagnostics["compiled"] == "off"
    assert same(fit, train(frames, KeepsCount(), compile="off"))


def test_early_stopping_returns_the_best_state(toy_frames):
    """Twenty frames and many weights overfit: the held-out loss turns round and the fit goes back to its lowest."""
    frames = toy_frames(20, dim=6)
    model = PredictiveCV(latent_dim=3, hidden=(32,))
    fit = train(frames, model, steps=1000, validation=0.3, learning_rate=3e-2)
    held_out = {row["step"]: row["validation"] for row in fit.log}
    best = min(held_out, key=lambda step: held_out[step])
    assert fit.diagnostics["best_step"] == best
    assert fit.diagnostics["validation"] == held_out[best]
    assert fit.diagnostics["last_step"] == best + 200  # ten looks without a better one
    assert fit.diagnostics["last_step"] < 1000
    assert max(list(held_out.values())[-3:]) > held_out[best] + 0.1
    density = fit.log_density(frames.split(blocks=20, test=0.3, seed=0)[1], particles=200).mean()
    assert -float(density) == pytest.approx(held_out[best], abs=1.0)


def test_without_held_out_frames_all_steps_are_run(toy_frames):
    fit = train(toy_frames(), validation=0.0, steps=30)
    assert fit.diagnostics["last_step"] == fit.diagnostics["best_step"] == fit.cost["steps"] == 30
    assert fit.diagnostics["validation"] is None


class FailsLater(Mean):
    """Its spread is not a number for frames beyond 5 once the mean has moved."""

    def spread(self, batch):
        failing = (batch.x > 5) & (self.mean > 0.05)
        return torch.where(failing, torch.nan, torch.ones_like(batch.x))


class FailsInItsGradient(Mean):
    """The value is finite, but the derivative of a root at zero is not."""

    def spread(self, batch):
        return 1.0 + (self.mean - self.mean.detach()).abs().sqrt()


@pytest.mark.parametrize("uncertainty", ["none", "bootstrap"])
@pytest.mark.parametrize("with_directory", [True, False])
def test_a_loss_that_is_not_finite_stops_the_fit_and_is_explained(tmp_path, uncertainty, with_directory):
    x = np.linspace(0, 1, 30)[:, None] + 2.0
    x[17] = 6.0
    frames = Frames.from_numpy(x, unit="reduced", temperature_kT=1.0)
    directory = tmp_path if with_directory else None
    settings = {"uncertainty": uncertainty, "validation": 0.0, "batch_size": 30, "run_dir": directory, "steps": 100}
    with pytest.raises(FitError, match=r"not finite at step \d+: site 'x', training frames \[17\]") as caught:
        train(frames, FailsLater(), **settings)
    assert ("last good state is in" in str(caught.value)) == with_directory
    if with_directory:
        found = checkpoint.latest(tmp_path / "checkpoint")
        assert found is not None
        assert f"step {found[1]['step']}:" in str(caught.value)
        assert all(torch.isfinite(v).all() for k, v in found[0].items() if k.startswith("params/"))
        with pytest.raises(FitError):  # going on from it meets the same step, and says the same
            train(frames, FailsLater(), **settings)


def test_a_gradient_that_is_not_finite_is_told_from_a_value(toy_frames):
    with pytest.raises(FitError, match="at step 0: its gradient"):
        train(toy_frames(dim=1), FailsInItsGradient())


def test_cuda_where_there_is_none_is_a_device_error(toy_frames):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(DeviceError, match=r"cuda.*device='auto' or 'cpu'"):
        train(toy_frames(), device="cuda")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"objective": "elbow"}, "objective='elbow' is not known"),
        ({"steps": 0}, "steps=0 must be a whole number, at least 1"),
        ({"steps": -5}, "steps=-5 must be a whole number, at least 1"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number, at least 1"),
        ({"checkpoint_every": 0}, "checkpoint_every=0 must be a whole number, at least 1"),
        ({"particles": 0}, "particles=0 must be a whole number, at least 1"),
        ({"members": 1}, "members=1 must be a whole number, at least 2"),
        ({"validation": 1.0}, "validation=1.0 must be a number in"),
        ({"validation": -0.1}, "validation=-0.1 must be a number in"),
        ({"validation": float("nan")}, "validation=nan must be a number in"),
        ({"validation": "a"}, "validation='a' must be a number in"),
        ({"learning_rate": "a"}, "learning_rate='a' must be positive"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 must be positive"),
        ({"learning_rate": float("nan")}, "learning_rate=nan must be positive"),
        ({"uncertainty": "bayes"}, "uncertainty='bayes' is not known; use one of none, mean-field"),
        ({"compile": "fast"}, "compile='fast' is not known"),
        ({"clip": -1.0}, "clip=-1.0 must be a number in"),
        ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ({"steps": 10.5}, "steps=10.5 must be a whole number, at least 1"),
        ({"device": "gpu"}, "device='gpu' is not known"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(toy_frames, settings, words):
    with pytest.raises(ConfigError, match=words):
        train(toy_frames(), **settings)


@pytest.mark.parametrize("directory", [None, 3])
def test_what_is_no_path_holds_no_fit(directory):
    with pytest.raises(ConfigError, match=f"directory={directory} must be a path"):
        bcg.Fit.load(directory)


def test_no_frames_is_a_data_error(toy_frames):
    for nothing in (None, []):
        with pytest.raises(DataError, match="no frames to fit"):
            train(nothing)
    with pytest.raises(DataError, match="empty"):
        train(toy_frames()[:0])


@pytest.mark.parametrize("uncertainty", [c for c in CHOICES if c != "laplace"])
def test_one_frame_is_enough(toy_frames, uncertainty):
    fit = train(toy_frames(1), validation=0.0, uncertainty=uncertainty)
    assert all(torch.isfinite(v).all() for v in state_of(fit.model).values())


@pytest.mark.parametrize("uncertainty", ["laplace", "mean-field"])
def test_an_uncertainty_that_the_model_cannot_have_is_refused(toy_frames, uncertainty):
    with pytest.raises(ModelError, match=f"'{uncertainty}'.*Mean.*bootstrap"):
        train(toy_frames(dim=1), Mean(), uncertainty=uncertainty)


class Coupled(Mean):
    """A loss that couples the frames of a batch."""

    kind = "generalised"
    additive = False
    minimum_batch = 8


def test_a_batch_below_the_minimum_is_refused(toy_frames):
    with pytest.raises(DataError, match="at least 8 frames"):
        train(toy_frames(7, dim=1), Coupled(), validation=0.0)
    with pytest.raises(DataError, match="at least 8 frames"):
        train(toy_frames(dim=1), Coupled(), batch_size=7)
    train(toy_frames(8, dim=1), Coupled(), validation=0.0)


def test_the_model_and_the_frames_given_are_left_as_they_are(toy_frames):
    frames = toy_frames()
    before_frames = frames.positions.copy()
    model = PredictiveCV(latent_dim=1, hidden=(4,), dim=4)
    before = {k: v.clone() for k, v in state_of(model).items()}
    train(frames, model, uncertainty="bootstrap")
    assert all(torch.equal(v, before[k]) for k, v in state_of(model).items())
    assert model.training
    assert (frames.positions == before_frames).all()
    unbuilt = small()
    train(frames, unbuilt)
    assert not hasattr(unbuilt, "decoder")


@pytest.mark.parametrize("uncertainty", CHOICES)
def test_frames_in_double_precision_are_fitted_in_it(toy_frames, uncertainty):
    fit = train(toy_frames(dtype=np.float64), uncertainty=uncertainty)
    assert {v.dtype for v in state_of(fit.model).values()} == {torch.float64}
    assert fit.generate(3, draws=2).dtype == torch.float64
    assert fit.cv(toy_frames().positions).mean.dtype == torch.float64


def test_larger_than_memory_inputs_give_the_same_fit(toy_frames, monkeypatch):
    frames = toy_frames()
    resident = train(frames, validation=0.0)
    monkeypatch.setattr("bayescg.feeding.feed._RESIDENT_BYTES", 0)
    assert same(train(frames, validation=0.0), resident)


def test_every_frame_is_seen_once_an_epoch(toy_frames):
    from bayescg.feeding.feed import Feed

    model, frames = small(), toy_frames(50)
    model.setup(frames)
    feed = Feed(model, frames, 10, torch.device("cpu"), seed=2)
    epochs = [torch.cat([feed.indices(e * 5 + i) for i in range(5)]) for e in range(3)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(50))
    assert not torch.equal(epochs[0], epochs[1])
    again = Feed(model, frames, 10, torch.device("cpu"), seed=2)
    assert torch.equal(again.indices(12), feed.indices(12))  # also when a fit starts there


def test_a_fit_in_a_thread_works(toy_frames):
    frames, found = toy_frames(), []
    worker = threading.Thread(target=lambda: found.append(train(frames)))
    worker.start()
    worker.join()
    assert same(found[0], train(frames))


def test_a_switched_off_setting_of_pyro_is_refused():
    model, frames, _ = PredictiveCV.example()
    model.setup(frames)
    pyro.settings.set(module_local_params=False)
    try:
        with pytest.raises(ModelError, match="module_local_params"):
            check_programs(model, bcg.Batch(x=torch.as_tensor(frames.positions), total=64))
    finally:
        pyro.settings.set(module_local_params=True)


def test_empty_batches_are_refused():
    with pytest.raises(ModelError, match="no frames"):
        bcg.Batch(x=torch.zeros(0, 2), total=5)
    with pytest.raises(ModelError, match="total >= 1"):
        bcg.Batch(x=torch.zeros(3, 2))


def test_the_importance_weighted_bound_is_nearer_to_the_evidence(toy_frames):
    """At equal parameters it lies above the ELBO; its batches are unbiased and its prior counts once."""
    from bayescg.inference.objectives import Program

    frames = toy_frames(dtype=np.float64)
    fit = train(frames, validation=0.0, steps=40)
    x = torch.as_tensor(frames.positions)
    names = list(fit.weights.names)

    def loss(particles: int | None, part=slice(None), repeats: int = 200) -> float:
        program = Program(fit.model, names, particles=particles)
        tensors = {"x": x[part], "weight": torch.full((len(x[part]),), 0.5).double()}
        with torch.no_grad(), seeded(3), functional_random():
            run = torch.vmap(lambda _: program(tensors, len(x), 0.5 * len(x)), randomness="different")
            return float(run(torch.zeros(repeats)).mean())

    elbo, one, many = loss(None), loss(1), loss(30)
    assert one == pytest.approx(elbo, abs=0.05)
    assert many < elbo - 0.05
    halves = (loss(30, slice(0, 32)) + loss(30, slice(32, 64))) / 2
    assert halves == pytest.approx(many, abs=0.02)


def test_only_ratios_of_weights_count_however_small_or_large_they_are() -> None:
    x = np.random.default_rng(0).normal(size=(64, 2))
    logs = []
    for scale in (1e-200, 1.0, 1e200):
        frames = bcg.data.Frames.from_numpy(
            x, unit="reduced", temperature_kT=1.0, weights=scale * np.linspace(1.0, 2.0, 64)
        )
        logs.append(bcg.fit(PredictiveCV(latent_dim=1), frames, steps=20, uncertainty="none", compile="off").log)
    assert logs[0] == logs[1] == logs[2]


def test_held_out_frames_without_weight_are_refused() -> None:
    frames = bcg.data.Frames.from_numpy(
        np.random.default_rng(0).normal(size=(200, 2)),
        unit="reduced", temperature_kT=1.0, dt=1.0, weights=np.arange(200) < 20,
    )  # fmt: skip
    with pytest.raises(DataError, match="no weight"):
        bcg.fit(PredictiveCV(latent_dim=1), frames, steps=20, uncertainty="none")


def test_an_array_and_a_class_are_refused_in_words() -> None:
    with pytest.raises(DataError, match="from_numpy"):
        bcg.fit(PredictiveCV(latent_dim=1), np.zeros((9, 2)))  # type: ignore[arg-type]
    with pytest.raises(ModelError, match="an instance"):
        bcg.fit(PredictiveCV, PredictiveCV.example()[1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="latent_dim=0"):
        PredictiveCV(latent_dim=0)
