"""A fitted model: its shapes, its draws and its file."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import checkpoint
from bayescg.errors import CheckpointError, ConfigError, DataError, ModelError
from bayescg.inference.uncertainty import CHOICES
from bayescg.models import BoltzmannGenerator, PredictiveCV
from bayescg.recording.functional import state_of
from tests.inference.conftest import molecules


@pytest.mark.parametrize("choice", CHOICES)
def test_shapes(fits, choice):
    fit, frames = fits[choice], molecules()
    cv = fit.cv(frames)
    assert cv.batch_shape == (40,)
    assert cv.event_shape == (2,)
    assert cv.mean.shape == cv.stddev.shape == (40, 2)
    assert fit.generate(7, draws=5).shape == (1 if choice == "none" else 5, 7, 3, 3)
    default = {"none": 1, "ensemble": 3, "bootstrap": 3}.get(choice, 200)
    assert len(fit.generate(7)) == default
    assert fit.log_density(frames).shape == (1, 40)
    varying = fit.parameters(6)
    assert bool(varying) == (choice != "none")
    for name, value in varying.items():
        assert value.shape == (6, *state_of(fit.model)[name].shape)


@pytest.mark.parametrize("choice", CHOICES)
def test_draws_vary_where_there_is_uncertainty_and_only_there(fits, choice):
    fit = fits[choice]
    x = fit.generate(5, draws=3)
    if choice == "none":
        assert fit.parameters(10) == {}
        assert len(x) == 1
    else:
        assert x.std(0).min() > 0
    assert torch.equal(fit.generate(5, draws=3), x)
    assert not torch.equal(fit.generate(5, draws=3, seed=1), x)


@pytest.mark.parametrize("choice", CHOICES)
def test_it_says_what_the_uncertainty_of_its_cv_holds(fits, choice):
    expected = "intrinsic and parameter" if choice in ("ensemble", "bootstrap") else "intrinsic only"
    assert fits[choice].diagnostics["cv_uncertainty"] == expected
    assert any("no time axis" in w for w in fits[choice].diagnostics["warnings"])


def test_the_mixture_of_refits_is_at_least_as_wide_as_their_mean(fits):
    fit, frames = fits["bootstrap"], molecules()
    cv, members = fit.cv(frames), fit.cv_draws(frames)
    torch.testing.assert_close(cv.mean, members.mean(0), atol=1e-5, rtol=1e-4)
    assert (cv.variance >= members.var(0, correction=0) - 1e-6).all()
    covariances = cv.component_distribution.covariance_matrix
    within = torch.diagonal(covariances, dim1=-2, dim2=-1).mean(1)
    torch.testing.assert_close(cv.variance, within + members.var(0, correction=0), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_coordinate_that_is_not_finite_is_refused(fits, bad):
    x = molecules().positions.copy()
    x[[3, 8], 0, 1] = bad
    for ask in (fits["none"].cv, fits["bootstrap"].cv, fits["none"].log_density, fits["none"].guide_quality):
        with pytest.raises(DataError, match=r"frames \[3, 8\] are not finite"):
            ask(x)


@pytest.mark.parametrize("choice", CHOICES)
def test_saved_and_loaded_it_gives_the_same_numbers(fits, choice, tmp_path):
    fit, frames = fits[choice], molecules()
    fit.save(tmp_path / "fit")
    again = bcg.Fit.load(tmp_path / "fit")
    for a, b in ((state_of(fit.model), state_of(again.model)), (fit.weights.tensors, again.weights.tensors)):
        assert a.keys() == b.keys()
        assert all(torch.equal(v, b[k]) for k, v in a.items())
    assert torch.equal(fit.cv(frames).mean, again.cv(frames).mean)
    assert torch.equal(fit.cv(frames).stddev, again.cv(frames).stddev)
    assert torch.equal(fit.generate(4, draws=3), again.generate(4, draws=3))
    assert torch.equal(fit.log_density(frames), again.log_density(frames))
    assert (fit.settings, fit.diagnostics, fit.cost, fit.log) == (
        again.settings, again.diagnostics, again.cost, again.log,
    )  # fmt: skip
    assert fit.posterior(8, frames=frames).identical(again.posterior(8, frames=frames))
    assert sorted(p.suffix for p in (tmp_path / "fit").iterdir()) == [".json", ".safetensors"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", [flip, cut, empty, lambda p: p.unlink()], ids=["flip", "cut", "empty", "unlink"])
def test_a_damaged_file_is_refused(fits, tmp_path, damage, suffix):
    fits["none"].save(tmp_path)
    damage(tmp_path / f"fit{suffix}")
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        bcg.Fit.load(tmp_path)


def rewritten(directory, change):
    """The fit's file with another content and a right digest: what a stranger could write."""
    from bayescg import checkpoint

    tensors, meta = checkpoint.read(directory / "fit.json")
    tensors, meta = change(tensors, meta)
    checkpoint.write(directory, "fit", tensors, meta)


@pytest.mark.parametrize(
    "change",
    [
        lambda t, m: ({k: v for k, v in t.items() if not k.endswith("log_noise")}, m),
        lambda t, m: ({**t, "point/extra": torch.zeros(1)}, m),
        lambda t, m: ({k: torch.zeros(3, 3) if k.endswith("log_noise") else v for k, v in t.items()}, m),
    ],
    ids=["a tensor less", "a tensor more", "another shape"],
)
def test_tensors_that_do_not_belong_to_the_model_are_refused(fits, tmp_path, change):
    fits["none"].save(tmp_path)
    rewritten(tmp_path, change)
    with pytest.raises(CheckpointError, match="does not fit the model PredictiveCV"):
        bcg.Fit.load(tmp_path)


def test_another_layout_is_refused(fits, tmp_path):
    fits["none"].save(tmp_path)
    path = tmp_path / "fit.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 7}))
    with pytest.raises(CheckpointError, match="layout version 7"):
        bcg.Fit.load(tmp_path)


def test_a_fit_of_another_model_is_refused(fits, tmp_path):
    class Other(PredictiveCV):
        """Another class."""

    fits["none"].save(tmp_path)
    with pytest.raises(CheckpointError, match="holds a fit of PredictiveCV, not of Other"):
        bcg.Fit.load(tmp_path, model=Other(latent_dim=2, hidden=(4,), dim=9))
    with pytest.raises(CheckpointError, match="does not fit the model"):
        bcg.Fit.load(tmp_path, model=PredictiveCV(latent_dim=2, hidden=(5,), dim=9))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        bcg.Fit.load(tmp_path / "elsewhere")


class Counted:
    """Frames on disk, in all but name: notes how many are asked for at once."""

    def __init__(self, positions):
        self.positions, self.most = positions, 0

    def __len__(self):
        return len(self.positions)

    def gather(self, index):
        self.most = max(self.most, len(index))
        return self.positions[index]


@pytest.mark.parametrize("choice", ["none", "bootstrap"])
def test_frames_are_read_a_few_at_a_time(fits, choice, monkeypatch):
    """The numbers are those of all at once, except for what is drawn, which has a seed in every chunk."""
    fit, x = fits[choice], molecules(11).positions
    whole = fit.cv(x), fit.cv_draws(x), fit.guide_quality(x, 2000)
    dense = fit.log_density(x, 2, particles=4000)
    monkeypatch.setattr("bayescg.feeding.chunks.chunks.__defaults__", (4,))
    frames = Counted(x)
    for given in (frames, torch.as_tensor(x), x.astype(np.float64)):
        cv = fit.cv(given)
        assert cv.batch_shape == (11,)
        torch.testing.assert_close(cv.mean, whole[0].mean)
        torch.testing.assert_close(cv.variance, whole[0].variance)
        torch.testing.assert_close(fit.cv_draws(given), whole[1])
    parts = fit.log_density(frames, 2, particles=4000)
    torch.testing.assert_close(parts[:, :4], fit.log_density(x[:4], 2, particles=4000))
    torch.testing.assert_close(parts, dense, atol=0.3, rtol=0.02)
    assert not torch.equal(parts[:, 4:8], fit.log_density(x[4:8], 2, particles=4000))
    assert fit.guide_quality(frames, 2000)["ess_fraction"] == pytest.approx(whole[2]["ess_fraction"], rel=0.1)
    assert frames.most == 4
    bad = x.copy()
    bad[[3, 9]] = np.nan
    with pytest.raises(DataError, match=r"frames \[3\]"):
        fit.cv(bad)
    with pytest.raises(DataError, match=r"frames \[9\]"):
        fit.cv(np.where(np.arange(11)[:, None, None] == 3, 0, bad))


def test_capabilities_that_a_model_lacks_are_said(toy_frames):
    import pyro
    import pyro.distributions as dist
    from torch import nn

    class Mean(bcg.Model):
        """x ~ N(mean, 1)."""

        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(1))

        def model(self, batch):
            with batch.plate("frames"):
                pyro.sample("x", dist.Normal(self.mean, 1.0).to_event(1), obs=batch.x)

        def guide(self, batch):
            """Nothing."""

        def config(self):
            return {}

        @classmethod
        def example(cls):
            raise NotImplementedError

    fit = bcg.fit(Mean(), toy_frames(dim=1), steps=3)
    with pytest.raises(ModelError, match="Mean has no collective variables"):
        fit.cv(toy_frames(dim=1))
    assert fit.generate(3).shape == (1, 3, 1)
    assert set(fit.posterior(4).children) == {"posterior", "log_likelihood", "posterior_predictive", "observed_data"}


def test_tensorboard_reads_the_loss_log(fits, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("tensorboard")
        fits["none"].to_tensorboard(tmp_path)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path))
        events.Reload()
    losses = [e.value for e in events.Scalars("loss")]
    assert losses == pytest.approx([row["loss"] for row in fits["none"].log], rel=1e-5)


def test_a_fit_tells_what_it_is_in_a_few_lines(toy_frames, tmp_path):
    fit = bcg.fit(PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(60), steps=20, members=3, seed=0)
    head, training, *warned = repr(fit).split("\n  ")
    assert (
        head == "Fit of PredictiveCV (kind 'evidence'), 2 refits by 'bootstrap', to 54 frames worth 54 independent ones"
    )
    assert training.startswith("step 20, the best of 20, held-out loss ")
    assert warned == [f"warning: {words}" for words in fit.diagnostics["warnings"]]
    assert len(warned) > 0
    fit.save(tmp_path)
    assert "to frames worth 54 independent ones" in repr(bcg.Fit.load(tmp_path))
    model, *_ = BoltzmannGenerator.example()
    assert "to energies" in repr(bcg.fit(model, steps=2, batch_size=8, compile="off"))


@pytest.mark.parametrize(("count", "dim", "few"), [(98, 200, True), (9, 4, True), (98, 4, False)])
def test_a_fit_of_too_little_says_so(toy_frames, count, dim, few):
    model = PredictiveCV(latent_dim=1, hidden=(8,))
    fit = bcg.fit(model, toy_frames(count, dim), steps=2, uncertainty="none", validation=0, compile="off")
    words = f"{count} frames are worth {count} independent ones, and the model reads {dim} numbers of each"
    assert any(words in w for w in fit.diagnostics["warnings"]) == few


def test_a_fit_of_too_little_of_one_number_asks_for_no_fewer_features(toy_frames):
    fit = bcg.fit(
        PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(9, 1), steps=2, uncertainty="none", validation=0,
        compile="off",
    )  # fmt: skip
    (words,) = (w for w in fit.diagnostics["warnings"] if "independent ones" in w)
    assert words.endswith("9 independent ones: what it has learned may be their chance; take more of them")


def test_uneven_weights_count_by_their_effective_number(toy_frames):
    """Thirty of three hundred frames with weight 20: Kish's effective number, not three hundred."""
    w = np.where(np.arange(300) < 30, 20.0, 1.0)
    fit = bcg.fit(
        PredictiveCV(latent_dim=1, hidden=(8,)), toy_frames(300, weights=w), steps=5, uncertainty="none", validation=0
    )
    assert fit.diagnostics["effective_frames"] == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-5)


def test_refits_that_have_not_moved_are_told(toy_frames):
    """After few steps refits differ by less than their weights of the frames ask for; after many they follow them."""
    frames, model = toy_frames(200), PredictiveCV(latent_dim=1, hidden=(8,))
    early = bcg.fit(model, frames, steps=30, validation=0, learning_rate=1e-3, members=8, seed=0)
    assert early.diagnostics["refit_response"] < 0.5
    assert any("has not converged" in w for w in early.diagnostics["warnings"])
    late = bcg.fit(model, frames, steps=400, validation=0, learning_rate=2e-2, members=8, compile="trace", seed=0)
    assert 0.7 < late.diagnostics["refit_response"] < 1.5


def mixture() -> tuple[bcg.Model, bcg.data.Frames]:
    from bayescg.contract.model_files import models_in

    (model_class,) = models_in(Path(__file__).parents[1] / "models" / "third_party" / "gaussian_mixture.py")
    model, frames, _ = model_class.example()
    return model, frames


@pytest.mark.parametrize("choice", ["bootstrap", "ensemble"])
def test_what_cannot_be_batched_is_done_one_by_one(choice):
    """Refits of a mixture draw their states one after the other, and see the same random numbers."""
    model, frames = mixture()
    fit = bcg.fit(model, frames, steps=40, members=4, uncertainty=choice, compile="off", seed=0, learning_rate=0.1)
    assert not [w for w in fit.diagnostics["warnings"] if "could not be computed" in w]
    x = fit.generate(50)
    assert x.shape == (3, 50, 2)
    same = {**fit.weights.tensors, **{k: v[:1].expand_as(v) for k, v in fit.weights.tensors.items()}}
    fit.weights = replace(fit.weights, tensors=same)
    x = fit.generate(50)
    assert torch.equal(x[0], x[1])
    assert torch.equal(x[0], x[2])


def test_a_guide_that_proposes_nothing_is_exact():
    model, frames = mixture()
    fit = bcg.fit(model, frames, steps=5, compile="off")
    quality = fit.guide_quality(frames)
    assert quality.pop("ess_fraction") == pytest.approx(1, abs=1e-6)
    assert set(quality.values()) == {0.0}
    with pytest.raises(ConfigError, match="particles=10"):
        fit.guide_quality(frames, particles=10)


@pytest.mark.parametrize("part", ["response", "doubts", "cv"])
def test_a_diagnostic_that_fails_is_a_warning_and_costs_no_fit(part):
    sound, frames = mixture()
    base: Any = type(sound)

    class Failing(base):
        def doubts(self, x, weight):
            if part == "doubts":
                raise ValueError("no doubts")
            return []

        def model(self, batch):
            if part == "response" and batch.x is None:
                raise ZeroDivisionError("nothing to draw")
            super().model(batch)

        def cv(self, x):
            return torch.zeros(len(x), 2) if part == "cv" else super().cv(x)

    fit = bcg.fit(Failing(2), frames, steps=5, members=3, uncertainty="bootstrap", compile="off")
    failures = [w for w in fit.diagnostics["warnings"] if "could not be computed" in w]
    expected = {"response": "ZeroDivisionError", "doubts": "no doubts", "cv": "cv gives a Tensor"}
    assert len(failures) == (2 if part == "cv" else 1)
    assert all(expected[part] in warning for warning in failures)
    assert fit.diagnostics["cv_uncertainty"] == ("intrinsic only" if part == "cv" else "intrinsic and parameter")


@pytest.mark.parametrize(
    ("cv", "words"),
    [
        (lambda x: x.flatten(1), "gives a Tensor, not a distribution"),
        (lambda x: torch.distributions.Normal(x.flatten(1), 1.0), r"batch shape \(60, 2\) and event shape \(\)"),
        (lambda x: torch.distributions.Normal(x[:, 0], 1.0), r"batch shape \(60,\) and event shape \(\)"),
    ],
)
def test_a_cv_that_is_no_distribution_of_the_right_shape_is_refused(cv, words):
    sound, frames = mixture()
    model = type("Careless", (type(sound),), {"cv": lambda self, x: cv(x)})(2)
    fit = bcg.fit(model, frames, steps=2, compile="off")
    for ask in (fit.cv, fit.cv_draws):
        with pytest.raises(ModelError, match=f"Careless.cv .*{words}"):
            ask(frames)


def test_a_fit_of_a_class_that_is_not_registered_says_how_to_load_it(tmp_path):
    model, frames = mixture()
    bcg.fit(model, frames, steps=2, compile="off").save(tmp_path)
    with pytest.raises(CheckpointError, match=r"model=\.\.\.\) a GaussianMixture of the configuration .*\"states\": 2"):
        bcg.Fit.load(tmp_path)
    assert bcg.Fit.load(tmp_path, model=model).generate(2).shape == (1, 2, 2)


def test_a_fit_whose_class_took_other_arguments_says_so(tmp_path):
    model, frames, _ = PredictiveCV.example()
    bcg.fit(model, frames, steps=2, uncertainty="none", compile="off").save(tmp_path)
    tensors, meta = checkpoint.read(tmp_path / "fit.json")
    checkpoint.write(tmp_path, "fit", tensors, {**meta, "config": {**meta["config"], "penalty": 1.0}})
    with pytest.raises(CheckpointError, match=r"holds a PredictiveCV as bayescg .* unexpected keyword .*penalty"):
        bcg.Fit.load(tmp_path)
