"""Weights of biased frames against quadrature, pymbar, and themselves."""

import numpy as np
import pytest

from bayescg.data import Bias, Frames, mbar, mbar_draws
from bayescg.errors import DataError

CENTRES = np.linspace(-6.0, 6.0, 13)
GRID = np.linspace(-10.0, 10.0, 4001)


def free_energy(s):
    return 6.0 * np.exp(-(s**2) / 4.0) + 0.3 * s + 0.02 * s**2


def sampled(n, seed):
    """Independent draws of harmonic windows over a barrier: values, windows and bias energies."""
    rng = np.random.default_rng(seed)
    p = np.exp(-free_energy(GRID) - 0.5 * (GRID - CENTRES[:, None]) ** 2)
    s = np.concatenate([rng.choice(GRID, n, p=row / row.sum()) for row in p])
    return s, np.repeat(np.arange(len(CENTRES)), n), 0.5 * (s[:, None] - CENTRES) ** 2


def exact():
    f = -np.log(np.exp(-free_energy(GRID) - 0.5 * (GRID - CENTRES[:, None]) ** 2).sum(1))
    return f - f[0]


def test_windows_agree_with_quadrature_within_three_standard_errors():
    runs = np.stack([mbar(*sampled(400, seed)[::-1][:2])[1] for seed in range(20)])
    error = runs.std(0, ddof=1)[1:] / 20**0.5
    assert (np.abs(runs.mean(0) - exact())[1:] < 3 * error).all()


def test_weights_give_averages_of_the_unbiased_ensemble():
    shares = []
    for seed in range(20):
        s, window, energies = sampled(200, seed)
        shares.append(np.exp(mbar(energies, window)[0])[s > 0].sum())
    p = np.exp(-free_energy(GRID))
    right = (GRID > 0.0) @ p / p.sum()
    assert abs(np.mean(shares) - right) < 3 * np.std(shares, ddof=1) / 20**0.5
    assert abs(np.mean(s > 0) - right) > 0.1  # where the windows lie says nothing of it


@pytest.mark.filterwarnings("ignore:Unknown solver options")
def test_solution_is_that_of_pymbar():
    pymbar = pytest.importorskip("pymbar", reason="pymbar is not installed")
    _, window, energies = sampled(300, 1)
    theirs = pymbar.MBAR(energies.T, np.bincount(window), relative_tolerance=1e-12).f_k
    assert np.abs(mbar(energies, window)[1] - theirs).max() < 1e-9


def test_frames_that_count_twice_are_frames_that_are_there_twice():
    _, window, energies = sampled(50, 2)
    weights = np.random.default_rng(0).integers(0, 3, len(window)).astype(float)
    copies = np.repeat(np.arange(len(window)), weights.astype(int))
    log_weights, f = mbar(energies, window, weights)
    log_copies, f_copies = mbar(energies[copies], window[copies])
    np.testing.assert_allclose(f, f_copies, atol=1e-9)
    np.testing.assert_allclose(log_weights[copies], log_copies, atol=1e-9)


def test_draws_are_solutions_for_their_weights():
    _, window, energies = sampled(100, 3)
    blocks = np.arange(len(window)) % 8
    weights = 8 * np.random.default_rng(1).dirichlet(np.ones(8), 5)
    draws = mbar_draws(energies, window, mbar(energies, window)[1], blocks, weights)
    for draw, block_weights in zip(draws, weights, strict=True):
        np.testing.assert_allclose(draw, mbar(energies, window, block_weights[blocks])[1], atol=1e-6)


def test_free_energies_far_apart_converge():
    _, window, energies = sampled(200, 4)
    tilted = energies + 25.0 * np.arange(len(CENTRES))
    np.testing.assert_allclose(
        mbar(tilted, window)[1], mbar(energies, window)[1] + 25.0 * np.arange(len(CENTRES)), atol=1e-8
    )


def test_frames_keep_windows_and_weights_of_their_own():
    s, window, energies = sampled(20, 5)
    frames = Frames.from_numpy(s[:, None], unit="reduced", bias=Bias(window, energies), temperature_kT=1.0)
    log_weights = mbar(energies, window)[0]
    assert frames.weights is not None
    np.testing.assert_allclose(frames.weights, np.exp(log_weights - log_weights.max()))
    with pytest.raises(DataError, match="give bias= alone"):
        Frames.from_numpy(s[:, None], unit="reduced", bias=frames.bias, weights=np.ones(len(s)))
    part = frames[np.arange(0, len(frames), 7)]
    assert part.bias is not None
    np.testing.assert_array_equal(part.bias.energies, energies[::7])
    np.testing.assert_array_equal(part.bias.window, window[::7])
    some = frames[(window >= 3) & (window <= 9)]  # whose own weights are not those among all windows
    assert some.bias is not None
    assert some.weights is not None
    expected = np.exp(mbar(some.bias.energies, some.bias.window)[0])
    np.testing.assert_allclose(some.weights / some.weights.sum(), expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"window": [0, 2], "energies": np.zeros((2, 2))}, "integers from 0 to 1"),
        ({"window": [0, 1], "energies": np.zeros((3, 2))}, r"give \(n, windows\)"),
        ({"window": [0, 1], "energies": [[0.0, np.nan], [0.0, 0.0]]}, "frame 0 in window 1"),
        ({"window": [0, 1], "energies": np.zeros((2, 2)), "replica": [1]}, "replica="),
        ({"window": [0, 1], "energies": np.zeros((2, 2)), "born": [0]}, "born="),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, message):
    with pytest.raises(DataError, match=message):
        Bias(**columns)


def test_a_bias_of_other_frames_is_refused():
    with pytest.raises(DataError, match="bias is of 2 frames, and there are 3"):
        Frames.from_numpy(np.zeros((3, 1)), unit="reduced", bias=Bias([0, 1], np.zeros((2, 2))))
