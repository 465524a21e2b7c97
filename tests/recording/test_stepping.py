"""Steps recorded and compiled: the same numbers as the plain ones, or none at all."""

import numpy as np
import pytest
import torch

from bayescg import systems
from bayescg.recording.stepping import prepare
from bayescg.sampling import annealed_importance, hmc, langevin, overdamped, smc
from bayescg.systems import DoubleWell, GaussianMixture, Harmonic, ManyWell32, MuellerBrown5D, Prinz, ThreeWellRing


@pytest.mark.parametrize(
    "system",
    [DoubleWell(), GaussianMixture(), Harmonic((1.0, 2.0)), ManyWell32(), MuellerBrown5D(), Prinz(), ThreeWellRing(5)],
    ids=repr,
)
def test_recorded_dynamics_is_the_plain_one_bit_for_bit(system):
    plain, recorded = (langevin(system, 20, dt=0.01, chains=30, compile=mode) for mode in ("off", "trace"))
    assert np.array_equal(plain.positions, recorded.positions)


@pytest.mark.parametrize(
    "run",
    [
        lambda mode: overdamped(DoubleWell(), 20, dt=0.01, chains=30, diffusion=(1.0, 2.0), compile=mode),
        lambda mode: hmc(DoubleWell(), 10, dt=0.3, chains=30, compile=mode),
        lambda mode: smc(DoubleWell(), islands=60, particles=10, compile=mode).frames,
        lambda mode: annealed_importance(DoubleWell(), chains=400, compile=mode).frames,
        lambda mode: langevin(systems.alanine_dipeptide(), 10, dt=0.0005, chains=3, compile=mode),
    ],
    ids=["overdamped", "hmc", "smc", "annealed importance", "molecule"],
)
def test_every_sampler_is_recorded_exactly(run):
    assert np.array_equal(run("off").positions, run("trace").positions)


def test_one_tensor_given_twice_is_two_arguments():
    x = torch.ones(3)
    difference = prepare(lambda a, b: (a - b,), [x, x], calls=1, mode="trace")
    assert difference(2 * x, x)[0].tolist() == [1.0, 1.0, 1.0]


class Opaque(systems.System):
    """Forces that a recording cannot stand for."""

    def __init__(self, forces):
        super().__init__(lambda x: 0.5 * (x**2).sum(-1), 2, temperature_kT=1.0)
        self.forces = forces


@pytest.mark.parametrize(
    "forces",
    [
        lambda x: torch.from_numpy(-x.detach().numpy()),
        lambda x: -x if float(x.abs().max()) < 1.0 else -2.0 * x,
    ],
    ids=["NumPy", "a branch"],
)
def test_what_cannot_be_recorded_runs_plainly(forces):
    system = Opaque(forces)
    starts = torch.linspace(-0.5, 0.5, 20).reshape(10, 2)
    with pytest.warns(UserWarning, match="cannot be recorded"):
        recorded = langevin(system, 50, dt=0.1, starts=starts, compile="trace")
    plain = langevin(system, 50, dt=0.1, starts=starts, compile="off")
    assert np.array_equal(plain.positions, recorded.positions)


@pytest.mark.slow
@pytest.mark.parametrize("system", [DoubleWell(), GaussianMixture(), MuellerBrown5D("shallow")], ids=repr)
def test_compiled_dynamics_is_the_plain_one_up_to_rounding(system):
    runs = [
        langevin(system, 10, dt=0.01, chains=100, compile=mode).positions for mode in ("off", "inductor", "inductor")
    ]
    assert np.array_equal(runs[1], runs[2])
    assert np.allclose(runs[0], runs[1], rtol=1e-4, atol=1e-4)
