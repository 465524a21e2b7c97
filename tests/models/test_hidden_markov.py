"""Hidden Markov models: sums over paths, exact data, deeptime's likelihood, and what cannot be one."""

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg import nets
from bayescg.analysis import compare, hidden_states
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.models import HiddenMarkov

JOINT = np.array([[0.38, 0.02, 0.0], [0.02, 0.28, 0.01], [0.0, 0.01, 0.28]])
SLOW = -1 / np.log(np.linalg.eigvalsh(JOINT / np.sqrt(np.outer(JOINT.sum(1), JOINT.sum(1))))[[1, 0]])
SHOWN = np.array([[0.8, 0.15, 0.05], [0.1, 0.6, 0.3], [0.1, 0.3, 0.6]])
FIT = {"progress": False, "members": 10}
POINT = {"progress": False, "uncertainty": "none"}


def chain(length=20_000, trajectories=1, seed=0, joint=JOINT, start=None):
    """Hidden states (trajectories, length) of the exact model."""
    rng, held = np.random.default_rng(seed), joint.sum(1)
    steps = np.cumsum(joint / held[:, None], 1)
    z = np.empty((trajectories, length), int)
    z[:, 0] = rng.choice(len(joint), trajectories, p=held) if start is None else start
    uniform = rng.random((trajectories, length))
    for t in range(1, length):
        z[:, t] = np.minimum((uniform[:, t, None] > steps[z[:, t - 1]]).sum(1), len(joint) - 1)
    return z


def seen(z, shown=SHOWN, seed=1):
    uniform = np.random.default_rng(seed).random(z.shape)
    return np.minimum((uniform[..., None] > np.cumsum(shown, 1)[z]).sum(-1), shown.shape[1] - 1)


def frames_of(cells, dt=1.0, **more):
    number = np.repeat(np.arange(len(cells)), cells.shape[1])
    return Frames.from_numpy(
        cells.reshape(-1, 1) * 1.0, trajectory=number, unit="reduced", dt=dt, labels=cells.ravel(), **more
    )


def at(joint, shown, **settings):
    """A model of known parameters."""
    model = HiddenMarkov(states=len(joint), cells="labels", alphabet=shown.shape[1], **settings).double()
    rows, columns = np.tril_indices(len(joint))
    with torch.no_grad():
        model.log_joint.copy_(torch.as_tensor(np.log(joint + 1e-12)[rows, columns]))
        model.emission.log_share.copy_(torch.as_tensor(np.log(shown + 1e-12)))
    return model


def summed(start, step, emission):
    """Over all hidden paths of one stretch: log probability, and probabilities of the states."""
    weights = {}
    for path in product(range(len(start)), repeat=len(emission)):
        p = start[path[0]] * emission[0, path[0]]
        for t in range(1, len(path)):
            p *= step[path[t - 1], path[t]] * emission[t, path[t]]
        weights[path] = p
    total = sum(weights.values())
    states = np.zeros_like(emission)
    for path, p in weights.items():
        states[np.arange(len(path)), path] += p / total
    return np.log(total), states


@pytest.fixture(scope="module")
def exact():
    return frames_of(seen(chain()))


@pytest.fixture(scope="module")
def fit(exact):
    return bcg.fit(HiddenMarkov(states=3, cells="labels"), exact, **FIT)


@pytest.fixture(scope="module")
def states(fit):
    return hidden_states(fit)


@pytest.mark.parametrize("length", [1, 2, 5, 6])
def test_the_sums_are_those_over_all_hidden_paths(length):
    generator = torch.Generator().manual_seed(length)
    start = torch.rand(3, generator=generator, dtype=torch.float64).log_softmax(0)
    step, shown = (3 * torch.rand(n, 3, generator=generator, dtype=torch.float64) for n in (3, length))
    step = step.log_softmax(1)
    log_p, states = summed(*(a.exp().numpy() for a in (start, step, shown)))
    assert float(nets.log_forward(start, step, shown[None])) == pytest.approx(log_p, rel=1e-12)
    paths = nets.hidden_paths(start, step, shown[None], torch.ones(1))
    assert float(paths.log_p) == pytest.approx(log_p, rel=1e-12)
    assert paths.states[0].numpy() == pytest.approx(states, abs=1e-12)


def test_expected_numbers_are_the_slopes_of_the_log_probability():
    generator = torch.Generator().manual_seed(0)
    leaves = [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in ((3,), (3, 3), (4, 30, 3))]
    start, step, shown = (leaf.log_softmax(-1).requires_grad_() for leaf in leaves)
    weight = torch.tensor([1.0, 0.5, 2.0, 0.0], dtype=torch.float64)
    slopes = torch.autograd.grad(weight @ nets.log_forward(start, step, shown), [start, step, shown])
    paths = nets.hidden_paths(start, step, shown, weight)
    for slope, expected in zip(slopes, (paths.starts, paths.steps, weight[:, None, None] * paths.states), strict=True):
        assert torch.allclose(slope, expected, atol=1e-10)


def test_what_is_missing_is_summed_over():
    """A stretch that ends early, and one with a gap in it."""
    model, frames = at(JOINT, SHOWN), frames_of(np.array([[0, 1, 2, 1, 0, 0]]))
    model.alphabet = 3
    held = JOINT.sum(1)
    step, shown = JOINT / held[:, None], SHOWN[:, [0, 1, 2, 1, 0, 0]].T.copy()
    for gone in ((5,), (2,), (2, 5)):
        labels, part = np.array(frames.labels), shown.copy()
        labels[list(gone)], part[list(gone)] = -1, 1.0
        density = model.rows(replace(frames, labels=labels))
        log_p = nets.log_forward(*model._chain(), model.emission(model.observed(density)))
        assert float(log_p.detach()) == pytest.approx(summed(held, step, part)[0], rel=1e-9)


def test_the_score_is_that_of_deeptime():
    hmm = pytest.importorskip("deeptime.markov.hmm")
    cells = seen(chain(300))
    theirs = hmm.HiddenMarkovModel(
        JOINT / JOINT.sum(1, keepdims=True), SHOWN, initial_distribution=JOINT.sum(1)
    ).compute_observation_likelihood(cells[0])
    model = at(JOINT, SHOWN, stretch=300)
    with torch.no_grad():
        mine = nets.log_forward(*model._chain(), model.emission(model.observed(model.rows(frames_of(cells)))))
    assert float(mine) == pytest.approx(theirs, rel=1e-6)


def test_exact_data_are_recovered(fit, states):
    held = JOINT.sum(1)
    for k in (1, 2):
        timescale = states.quantities[f"timescale_{k}"]
        assert abs(timescale.mean - SLOW[k - 1]) < 3 * timescale.sd < 0.5 * SLOW[k - 1]
    for k in range(3):
        population = states.quantities[f"population_{k + 1}"]
        assert abs(population.mean - held[k]) < 3 * population.sd < 0.2
    assert fit.model.emission.log_share.softmax(1).detach().numpy() == pytest.approx(SHOWN, abs=0.05)
    right = states.probabilities.values[np.arange(20_000), chain()[0]]
    assert right.mean() > 0.8
    assert states.probabilities.values.sum(1) == pytest.approx(1.0)


def test_the_exchange_is_in_detailed_balance(states):
    held = np.linalg.matrix_power(states.transitions.values, 100_000)[0]
    flow = held[:, None] * states.transitions.values
    assert np.abs(flow - flow.T).max() < 1e-10


def test_cells_without_noise_are_a_reversible_markov_state_model():
    """Whose likelihood is largest where that of hidden states is flat; of two states every chain is reversible."""
    z = chain(2000, 5, joint=np.array([[0.45, 0.05], [0.05, 0.45]]))
    counts = np.zeros((2, 2))
    np.add.at(counts, (z[:, :-1].ravel(), z[:, 1:].ravel()), 1)
    step = counts / counts.sum(1, keepdims=True)
    held = step[[1, 0], [0, 1]] / (step[0, 1] + step[1, 0])
    model = at(held[:, None] * step, np.eye(2), equilibrium=False, stretch=2000)
    x = model.observed(model.rows(frames_of(z)))
    weight = torch.ones(5, dtype=torch.float64)
    assert model.paths(x, weight).steps.numpy() == pytest.approx(counts, abs=1e-3)
    density = weight @ nets.log_forward(*model._chain(), model.emission(x))
    starts = np.log(0.5) * len(z)
    assert float(density.detach()) == pytest.approx((counts * np.log(step)).sum() + starts, rel=1e-6)
    assert torch.autograd.grad(density, model.log_joint)[0].abs().max() < 1e-3


@pytest.mark.parametrize("gone", [pytest.param("first", marks=pytest.mark.slow), "some"])
def test_cells_that_are_not_known_tell_nothing(gone):
    cells = seen(chain(4000))
    unknown = np.arange(4000) < 1 if gone == "first" else np.random.default_rng(0).random(4000) < 0.3
    labels = np.where(unknown, -1, cells)
    by_label = bcg.fit(HiddenMarkov(states=3, cells="labels"), frames_of(labels), **FIT)
    by_function = bcg.fit(HiddenMarkov(states=3, cells=lambda x: x[:, 0].long()), frames_of(labels), **POINT)
    points: list[Any] = [by_label.model, by_function.model]
    assert torch.allclose(*(model.joint() for model in points))
    slow = np.log(hidden_states(by_label).timescales.values[:, 0])
    assert abs(slow.mean() - np.log(SLOW[0])) < 3 * slow.std() < 1.5
    assert by_label.log_density(frames_of(labels)).isfinite().all()
    assert hidden_states(by_label).probabilities.values.sum(1) == pytest.approx(1.0)


def test_every_shift_of_a_lag_counts():
    frames = frames_of(seen(chain(3000)), dt=0.5)
    model = HiddenMarkov(states=3, cells="labels", lag=1.5, stretch=100)
    rows = model.rows(frames)
    assert rows.overlap == 3.0
    assert sorted(rows.index[rows.index >= 0]) == list(range(3000))
    fit = bcg.fit(model, frames, **POINT)
    assert fit.diagnostics["effective_frames"] == pytest.approx(len(rows) / 3)
    assert fit.model.lag == 1.5


def test_held_out_stretches_choose_the_number_of_hidden_states():
    """Three hidden states behind two cells, of which no Markov state model of the cells knows."""
    shown = np.array([[0.95, 0.05], [0.5, 0.5], [0.05, 0.95]])
    joint = np.array([[0.39, 0.01, 0.0], [0.01, 0.19, 0.01], [0.0, 0.01, 0.38]])
    train, test = (frames_of(seen(chain(6000, seed=s, joint=joint), shown, seed=s + 10)) for s in (0, 1))
    fits = {
        m: bcg.fit(HiddenMarkov(states=m, cells="labels"), train, uncertainty="none", progress=False)
        for m in (1, 2, 3, 4)
    }
    table = compare({str(m): fit for m, fit in fits.items()}, test)
    assert "2" not in table.tied
    assert min(table.tied) == "3"
    assert table["1"].difference < table["2"].difference < 0
    other = bcg.fit(HiddenMarkov(states=2, cells=[0.5]), train, **POINT)
    with pytest.raises(ConfigError, match="different spaces"):
        compare({"labels": fits[2], "edges": other}, test)


def test_trajectories_begun_in_one_state_need_free_beginnings():
    z = chain(40, 150, start=0, seed=3)
    frames, found = frames_of(seen(z)), {}
    for equilibrium in (True, False):
        model = HiddenMarkov(states=3, cells="labels", equilibrium=equilibrium, stretch=40)
        found[equilibrium] = hidden_states(bcg.fit(model, frames, **FIT))
    assert "do not begin at equilibrium" in found[True].refused[1]
    assert found[True].quantities["timescale_1"].ci90 is None
    assert found[False].refused == {}
    held = JOINT.sum(1)
    wrong, right = (np.abs(found[e].populations.mean("draw").values - held).max() for e in (True, False))
    assert right < 0.5 * wrong
    assert abs(found[False].quantities["population_1"].mean - held[0]) < 3 * found[False].quantities["population_1"].sd


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cells", ["labels", None])
def test_frames_in_no_order_have_no_timescale(cells, seed):
    """Neither where cells say nothing, nor where two Gaussians fit the frames far better than one.

    What is refused does not depend on the refits, so that these are few.
    """
    rng = np.random.default_rng(seed)
    frames = frames_of(rng.permutation(seen(chain(2000))[0]).reshape(4, 500))
    if cells is None:
        frames = replace(frames, positions=frames.positions + 0.3 * rng.normal(size=(2000, 1)))
    found = hidden_states(bcg.fit(HiddenMarkov(states=2, cells=cells), frames, **{**FIT, "members": 4}))
    assert found.quantities["timescale_1"].ci90 is None
    assert "no more probable in their order" in found.refused[1]
    assert found.timescales.isnull().all()
    assert found.populations.notnull().all()
    assert "timescales none" in repr(found)
    assert bcg.plot.hidden_states(found, [0.1]).axes[2].get_ylim() == (0.5, 2.0)


def test_gaussians_around_hidden_means():
    z = chain(3000)
    x = np.array([[-1.0, 0.0], [1.0, 0.0], [1.0, 2.0]])[z[0]] + 0.5 * np.random.default_rng(0).normal(size=(3000, 2))
    frames = Frames.from_numpy(10 * x, unit="reduced", dt=1.0)
    fit = bcg.fit(HiddenMarkov(states=3), frames, **FIT)
    model: Any = fit.model
    means = model.scale.inverse(model.emission.mean).detach().numpy() / 10
    means = means[np.lexsort(means.T.round())]
    assert means == pytest.approx(np.array([[-1.0, 0.0], [1.0, 0.0], [1.0, 2.0]]), abs=0.1)
    widths = (model.emission.log_width.exp() * model.scale.width).detach().numpy() / 10
    assert widths == pytest.approx(0.5, abs=0.05)
    once, twice = (
        bcg.fit(
            HiddenMarkov(states=3), Frames.from_numpy(f * x, unit="reduced", dt=1.0), **{**FIT, "uncertainty": "none"}
        )
        for f in (1.0, 10.0)
    )
    again = bcg.fit(once.model, twice.frames, **{**FIT, "uncertainty": "none"})  # whatever it was trained on
    assert torch.equal(again.log_density(twice.frames), twice.log_density(twice.frames))
    assert hidden_states(fit).shown.dims == ("state", "feature")
    change = once.log_density(once.frames) - twice.log_density(twice.frames)
    assert change.numpy() == pytest.approx(2 * 200 * np.log(10), rel=1e-3)  # densities are those of the features


def test_a_fit_is_saved_and_a_function_is_given_again(tmp_path, exact):
    model = HiddenMarkov(states=2, cells=lambda x: (x[:, 0] > 0.5).long(), stretch=100)
    frames = Frames.from_numpy(exact.positions[:2000], unit="reduced", dt=1.0)
    fit = bcg.fit(model, frames, **FIT)
    fit.save(tmp_path)
    with pytest.raises(ConfigError, match="make the model with it again"):
        bcg.Fit.load(tmp_path)
    again = bcg.Fit.load(tmp_path, model=model)
    assert torch.equal(again.log_density(frames), fit.log_density(frames))
    assert again.model.lag == 1.0


@pytest.mark.parametrize(
    ("frames", "model", "says"),
    [
        (frames_of(np.zeros((3, 2), int)), {"cells": "labels"}, "longer than two lag times"),
        (frames_of(np.zeros((1, 9), int)), {"cells": "labels", "lag": 20.0}, "no two frames"),
        (replace(frames_of(np.zeros((1, 9), int)), labels=None), {"cells": "labels"}, "no labels"),
        (frames_of(np.arange(9)[None] % 5), {"cells": "labels", "alphabet": 3}, "none of the 3"),
        (frames_of(np.full((1, 9), -1)), {"cells": "labels"}, "whole numbers"),
        (frames_of(np.full((1, 9), 3)), {"cells": "labels"}, "all frames are in cell 3.* divide the frames"),
        (frames_of(np.arange(9)[None] // 8 * 10**6), {"cells": "labels"}, "in cell 1000000, of only 9 frames"),
        (Frames.from_numpy(np.zeros((9, 2)), unit="reduced", dt=1.0), {"cells": [0.0]}, "of one number"),
        (Frames.from_numpy(np.zeros((9, 2)), unit="reduced"), {}, "no time axis"),
        (Frames.from_numpy(np.zeros((9, 1)), unit="reduced", dt=1.0, weights=np.arange(9)), {}, "importance weights"),
        (frames_of(np.zeros((1, 9), int)).lagged(1.0), {}, "not from Pairs"),
        (Frames.from_numpy(np.arange(99)[:, None] % 2, unit="reduced", dt=1.0), {}, "feature 0 takes only 2 values"),
    ],
    ids=[
        "short",
        "lag",
        "labels",
        "alphabet",
        "unknown",
        "one",
        "numbered",
        "features",
        "time",
        "weights",
        "pairs",
        "atoms",
    ],
)
def test_frames_without_paths_of_cells_are_refused(frames, model, says):
    with pytest.raises(DataError, match=says):
        bcg.fit(HiddenMarkov(states=2, **model), frames, **FIT)


def test_cells_that_are_never_visited_and_states_that_are_never_entered_are_told():
    frames = frames_of(np.where(chain(400, joint=JOINT)[:, :] > 0, 3, 0))
    with pytest.warns(UserWarning, match="2 of 4 cells are never visited"):
        fit = bcg.fit(HiddenMarkov(states=5, cells="labels", stretch=40), frames, **FIT)
    assert any("never visited" in words for words in fit.diagnostics["warnings"])
    assert any("entered fewer than 3 times" in words for words in hidden_states(fit).warnings)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"states": 0}, "states=0"),
        ({"stretch": 2}, "stretch=2"),
        ({"lag": -1.0}, "lag=-1"),
        ({"concentration": 0.0}, "concentration=0"),
        ({"cells": "wells"}, "cells='wells'"),
        ({"cells": [1.0, 0.0]}, "edges between cells rise"),
        ({"cells": []}, "edges between cells rise"),
        ({"alphabet": 0}, "alphabet=0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, says):
    with pytest.raises(ConfigError, match=says):
        HiddenMarkov(**settings)


def test_what_is_no_hidden_markov_model_has_no_hidden_states(fit, exact):
    point = bcg.fit(HiddenMarkov(states=2, cells="labels"), exact, **POINT)
    with pytest.raises(ModelError, match="members=50"):
        hidden_states(point)
    with pytest.raises(DataError, match="stretches of trajectories"):
        bcg.fit(bcg.models.PredictiveCV(), exact.stretches(1.0))
