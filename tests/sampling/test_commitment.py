"""Shots against exact committors, and every way in which they go wrong."""

import numpy as np
import pytest
import torch
from scipy import stats

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, SimulationError
from bayescg.sampling import commitment
from bayescg.systems import System, alanine_dipeptide

FLAT = System(lambda x: 0.0 * x[:, 0] ** 2, dim=1, temperature_kT=1.0)
ENDS = {"A": lambda x: x[:, 0] < -1.0, "B": lambda x: x[:, 0] > 1.0}
STARTS = np.array([[-0.7], [0.0], [0.7]])


def share(frames) -> np.ndarray:
    counts = np.asarray(frames.commitments)
    return counts[:, 1] / counts.sum(1)


def test_a_free_walk_commits_as_it_should():
    """Looked at after every step of width s, the ends of a flat line are 0.5826 s further out (Siegmund 1979)."""
    shots, width = 6000, 0.1
    frames = commitment(FLAT, STARTS, ENDS, shots=shots, dt=0.5 * width**2, compile="trace")
    exact = 0.5 + STARTS[:, 0] / (2 * (1 + 0.5826 * width))
    z = (share(frames) - exact) / np.sqrt(exact * (1 - exact) / shots)
    assert np.abs(z).max() < 3.5
    # without the steps' own shift, the answer of continuous time is off by four standard errors at the sides
    assert abs(share(frames)[2] - 0.85) / np.sqrt(0.85 * 0.15 / shots) > 3.0
    assert frames.provenance["regions"] == ["A", "B"]
    assert frames.provenance["unresolved"] == 0
    assert (np.asarray(frames.commitments).sum(1) == shots).all()


def test_a_ballistic_particle_goes_where_its_velocity_points():
    """Without friction and forces: one half from anywhere, however near to an end."""
    frames = commitment(FLAT, STARTS, ENDS, shots=150, dt=0.5, dynamics="langevin", friction=1e-9, compile="off")
    assert np.abs(share(frames) - 0.5).max() < 3.5 * np.sqrt(0.25 / 150)
    assert share(commitment(FLAT, STARTS, ENDS, shots=150, dt=0.02, compile="off"))[2] > 0.7  # diffusion does not


def test_a_barrier_is_crossed_as_the_exact_committor_says():
    """In a double well, its ends further out by 0.5826 of the width of a step, as above."""
    system, width = bcg.systems.QuarticDoubleWell(), (2 * 0.004) ** 0.5
    out = 1.0 + 0.5826 * width
    exact = bcg.truth.committor(system, lambda x: x[:, 0] < -out, lambda x: x[:, 0] > out, cells=2000)
    x = np.linspace(-0.9, 0.9, 7)[:, None]
    frames = commitment(system, x, ENDS, shots=400, dt=0.004, compile="trace")
    q = exact(torch.as_tensor(x)).numpy()
    z = (share(frames) - q) / np.sqrt(q * (1 - q) / 400)
    assert np.square(z).sum() < stats.chi2.ppf(0.999, 7)
    energies = system.energy(torch.as_tensor(x)).numpy()
    np.testing.assert_allclose(np.asarray(frames.energy), energies, rtol=1e-6)


def test_hot_shots_commit_as_the_hotter_system_does():
    """At four times a quarter of the temperature; and say so, as a rate needs shots of the frames' own."""
    cold, width = bcg.systems.QuarticDoubleWell(temperature_kT=0.25), (2 * 0.004) ** 0.5
    out = 1.0 + 0.5826 * width
    x = np.linspace(-0.9, 0.9, 7)[:, None]
    frames = commitment(cold, x, ENDS, shots=400, heat=4.0, dt=0.004, compile="trace")
    misfit = {}
    for system in (bcg.systems.QuarticDoubleWell(), cold):
        q = bcg.truth.committor(system, lambda x: x[:, 0] < -out, lambda x: x[:, 0] > out, cells=2000)(torch.tensor(x))
        misfit[system.kT] = np.square((share(frames) - q.numpy()) / np.sqrt(q.numpy() * (1 - q.numpy()) / 400)).sum()
    assert misfit[1.0] < stats.chi2.ppf(0.999, 7) < misfit[0.25]
    assert frames.kT == 1.0
    assert cold.kT == 0.25
    around = bcg.sampling.equilibrium(cold, 2000)
    shots = commitment(cold, around[::20], ENDS, shots=1, heat=4.0, dt=0.004, compile="off")
    with pytest.raises(DataError, match="these shots went at 4 times the temperature"):
        bcg.analysis.rates(lambda x: x[:, 0], around, ENDS["A"], ENDS["B"], shots=shots, system=cold)
    with pytest.raises(ConfigError, match="heat"):
        commitment(cold, x, ENDS, heat=0.5, dt=0.004)


def test_shots_that_wait_take_the_places_of_those_that_ended():
    """A batch far smaller than all shots: the same counts up to chance, every shot counted, one seed one result."""
    few = [commitment(FLAT, STARTS, ENDS, shots=300, dt=0.01, batch=70, seed=4, compile="off") for _ in range(2)]
    np.testing.assert_array_equal(few[0].commitments, few[1].commitments)
    assert (np.asarray(few[0].commitments).sum(1) == 300).all()
    exact = 0.5 + STARTS[:, 0] / (2 * (1 + 0.5826 * np.sqrt(0.02)))
    assert (np.abs(share(few[0]) - exact) < 3.5 * np.sqrt(0.25 / 300)).all()


def test_what_lies_in_a_region_has_committed_and_molecules_have_atoms():
    system = alanine_dipeptide()
    x = np.stack([system.start, system.start + 1.0])
    middle = float(x[:, 0, 0].mean())
    sides = {"near": lambda x: x[:, 0, 0] < middle, "far": lambda x: x[:, 0, 0] > middle}
    frames = commitment(system, x, sides, shots=3, dt=0.001, dynamics="langevin")
    assert np.asarray(frames.commitments).tolist() == [[3, 0], [0, 3]]
    assert frames.positions.shape == (2, 22, 3)


def test_shots_that_are_cut_are_told():
    with pytest.warns(UserWarning, match=r"of 900 shots \(.*%\) reached no region within 60 steps"):
        frames = commitment(FLAT, STARTS, ENDS, shots=300, dt=0.005, steps=60)
    counts = np.asarray(frames.commitments)
    assert counts.sum() == 900 - frames.provenance["unresolved"] < 900
    assert counts[1].sum() < counts[0].sum()  # the middle is far from both


@pytest.mark.parametrize(
    ("regions", "error", "message"),
    [
        ({"A": ENDS["A"], "B": lambda x: x[:, 0] < -0.5}, ConfigError, r"'A' and 'B' overlap at \[-1\."),
        ({"A": lambda x: x[:, 0] > -1, "B": lambda x: x[:, 0] > 0.5}, ConfigError, "overlap at"),
        ({"A": ENDS["A"]}, ConfigError, "two or more functions"),
        ({"A": ENDS["A"], "B": lambda x: x < -2}, ConfigError, r"region 'B' must map positions"),
        (
            {"A": lambda x: x[:, 0].abs() > 1, "B": lambda x: x[:, 0] > 50},
            SimulationError,
            "no shot reached 'B'; 30 of",
        ),
    ],
)
def test_regions_that_cannot_be_are_refused(regions, error, message):
    with pytest.raises(error, match=message):
        commitment(FLAT, STARTS, regions, shots=10, dt=0.05, compile="off")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dynamics": "newton"}, "dynamics='newton' is not known"),
        ({"dynamics": "langevin", "diffusion": 1.0}, "give friction="),
        ({"shots": 0}, "shots=0"),
        ({"dt": -1.0}, "dt"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        commitment(FLAT, STARTS, ENDS, **{"dt": 0.01, **arguments})


def test_shots_that_explode_are_named():
    cliff = System(lambda x: -(x[:, 0] ** 4), dim=1, temperature_kT=1.0)
    far = {"A": lambda x: x[:, 0] < -1e30, "B": lambda x: (x[:, 0] > 1e30) & (x[:, 0] < 1e31)}
    with pytest.raises(SimulationError, match="no longer finite; choose a shorter dt"):
        commitment(cliff, STARTS, far, shots=5, dt=0.1, compile="off")
