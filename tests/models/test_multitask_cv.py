"""MultitaskCV against exact answers: with a linear encoder it is logistic regression; its densities are scipy's."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

import bayescg as bcg
from bayescg.data import Frames, toy_shots
from bayescg.errors import ConfigError, DataError
from bayescg.models import MultitaskCV

SETTINGS: dict[str, Any] = {"validation": 0.0, "uncertainty": "none", "learning_rate": 0.05, "compile": "off"}


def shot_frames(regions: int, n: int = 200) -> Frames:
    """Frames in two dimensions whose shots are those of a linear model, a fifth of them without any."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(n, 2)) * [1.0, 3.0] + [0.5, -1.0]
    logits = np.c_[np.zeros(n), 0.5 * x @ rng.normal(size=(2, regions - 1))]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    counts = np.array([rng.multinomial(0 if k % 5 == 0 else 8, row) for k, row in enumerate(p)])
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, commitments=counts)


@pytest.mark.parametrize("regions", [2, 3])
def test_a_linear_encoder_is_logistic_regression(regions):
    """The score equations of the posterior hold: what the counts pull, the Gaussian prior of width 3 holds."""
    frames = shot_frames(regions)
    names = "ABC"[:regions]
    model = MultitaskCV(tasks=["commitments"], latent_dim=regions - 1, regions=names, hidden=(), prior=3.0)
    fit = bcg.fit(model, frames, steps=800, **{**SETTINGS, "compile": "trace"})
    trained: Any = fit.model
    y = trained.scale(trained.inputs(torch.as_tensor(frames.positions)))
    p = trained.logits(fit.cv(frames).mean).softmax(-1).detach().numpy()
    counts = np.asarray(frames.commitments)
    surplus = (counts - counts.sum(1, keepdims=True) * p)[:, 1:]
    weight, bias = (v.detach().numpy() for v in trained.encoder[0].parameters())
    information = 1.0 + np.einsum("nr,nr->r", counts.sum(1, keepdims=True) * p[:, 1:], 1 - p[:, 1:])
    off = np.c_[surplus.T @ y.numpy() - weight / 9.0, surplus.sum(0) - bias / 9.0] / np.sqrt(information)[:, None]
    assert np.abs(off).max() < 0.05  # of the posterior's standard deviation


def exact_log_density(model: Any, frames: Frames) -> np.ndarray:
    """Log density of all labels of each frame, in standardised energies, by scipy."""
    x = torch.as_tensor(frames.positions)
    with torch.no_grad():
        y = model.scale(x)
        z = model.encoder(y)
        u, b, d = (net(z).numpy() for net in (model.profile, model.basin, model.decoder))
        s, noise = model.log_bath.exp().item(), model.log_noise.exp().numpy()
    counts, labels = np.asarray(frames.commitments), np.asarray(frames.labels)
    total = stats.binom.logpmf(counts[:, 1], counts.sum(1), 1 / (1 + np.exp(-z[:, 0].numpy())))
    energy = (np.asarray(frames.energy) - model.energy_scale.mean.item()) / model.energy_scale.width.item()
    bath = stats.t.logpdf(energy, 4, u[:, 0], s)
    total += np.where(np.isnan(energy), 0.0, bath)
    basin = b[np.arange(len(b)), labels.clip(0)] - np.log(np.exp(b).sum(1))
    total += np.where(labels < 0, 0.0, basin)
    return total + stats.norm.logpdf(y.numpy(), d, noise).sum(1)


def test_densities_are_exact_and_what_is_missing_counts_nothing():
    frames = toy_shots()
    model = MultitaskCV(tasks=["commitments", "energy", "labels", "features"], hidden=(6,), heads=(6,))
    fit = bcg.fit(model, frames, steps=30, **SETTINGS)
    np.testing.assert_allclose(fit.log_density(frames)[0], exact_log_density(fit.model, frames), rtol=1e-4, atol=1e-4)


def test_missing_labels_are_as_good_as_no_label():
    """Unknown energies and labels, and rows without shots, train like frames that have no such column."""
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    shared: dict[str, Any] = {"unit": "reduced", "temperature_kT": 1.0, "commitments": np.tile([3, 5], (40, 1))}
    energy = np.r_[x[:20, 0], np.full(20, np.nan)]
    models = [MultitaskCV(tasks=tasks, hidden=(4,)) for tasks in (["commitments"], ["commitments", "labels"])]
    unknown = Frames.from_numpy(x, **shared, energy=energy, labels=np.full(40, -1))
    with_, without = (bcg.fit(m, unknown, steps=5, seed=3, **SETTINGS).log_density(unknown)[0] for m in models[::-1])
    assert bool(torch.isfinite(with_).all())
    assert bool(torch.isfinite(without).all())
    joint = bcg.fit(MultitaskCV(hidden=(4,)), unknown, steps=5, **SETTINGS)
    density = joint.log_density(unknown)[0].numpy()
    p = 1 / (1 + np.exp(-joint.cv(unknown).mean[20:, 0].numpy()))
    np.testing.assert_allclose(density[20:], stats.binom.logpmf(5, 8, p), rtol=1e-4)


def test_committors_of_refits_keep_their_own_gauge():
    """The first CV of each refit is its own logit; only the others are turned onto the trained ones."""
    frames = toy_shots()
    settings = {**SETTINGS, "uncertainty": "ensemble", "members": 3}
    fit = bcg.fit(MultitaskCV(latent_dim=3, hidden=(4,), dim=3), frames, steps=20, **settings)
    from bayescg.inference.refit_cvs import refit_cvs

    own, _ = refit_cvs(fit.model, fit.weights, torch.as_tensor(frames.positions))
    turned = fit.cv_draws(frames)
    torch.testing.assert_close(turned[..., 0], own[..., 0])
    assert not torch.allclose(turned[1, :, 1:], own[1, :, 1:], atol=1e-3)
    torch.testing.assert_close(turned[..., 1:].norm(dim=-1), own[..., 1:].norm(dim=-1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tasks": ["committor"]}, "tasks=.* must be some of commitments, energy, labels, features"),
        ({"tasks": []}, "must be some of"),
        ({"regions": "ABC", "latent_dim": 1}, r"at most latent_dim \+ 1 = 2"),
        ({"basins": 1}, "basins=1"),
        ({"prior": 0.0}, "prior"),
    ],
)
def test_arguments_that_cannot_be_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        MultitaskCV(**arguments)


def test_frames_of_other_tasks_are_refused():
    x = np.zeros((4, 2))
    plain = Frames.from_numpy(x, unit="reduced")
    with pytest.raises(DataError, match="no commitments, which the task 'commitments' learns from"):
        bcg.fit(MultitaskCV(), plain, steps=1)
    three = Frames.from_numpy(x, unit="reduced", commitments=np.ones((4, 3), int))
    with pytest.raises(DataError, match="shots of 3 regions"):
        bcg.fit(MultitaskCV(tasks=["commitments"]), three, steps=1, validation=0.0)
    labelled = Frames.from_numpy(x, unit="reduced", labels=[0, 1, 4, -1])
    with pytest.raises(DataError, match="a label is 4, but basins=2: give basins=5"):
        bcg.fit(MultitaskCV(tasks=["labels"]), labelled, steps=1, validation=0.0)
