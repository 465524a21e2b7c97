"""NeuralPotential: an exact posterior, labels that are missing, other numbers of particles, and what it refuses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import bayescg as bcg
from bayescg.data import Frames
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.models import NeuralPotential
from bayescg.systems import LennardJonesCluster, MorseCluster

SETTINGS: dict[str, Any] = {"validation": 0.0, "compile": "trace", "progress": False}


class Spring(nn.Module):
    """Two particles, U = k r^2 / 2 + c: somebody else's energy, linear in its weights."""

    def __init__(self):
        super().__init__()
        self.k, self.c = nn.Parameter(torch.tensor(2.5)), nn.Parameter(torch.tensor(6.5))

    def forward(self, x):
        return 0.5 * self.k * (x[:, 0] - x[:, 1]).square().sum(-1) + self.c


def springs(n: int = 50, noise: float = 0.1) -> Frames:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 2, 3))
    bond = x[:, :1] - x[:, 1:]
    forces = np.concatenate([-3.0 * bond, 3.0 * bond], 1) + noise * rng.normal(size=(n, 2, 3))
    energy = 1.5 * np.square(bond).sum((1, 2)) + 7.0 + 2**0.5 * noise * rng.normal(size=n)
    return Frames.from_numpy(
        x.reshape(n, 6), unit="reduced", temperature_kT=1.0, energy=energy, forces=forces.reshape(n, 6)
    )


def morse(n: int = 24, seed: int = 0) -> Frames:
    system, generator = MorseCluster(4), torch.Generator().manual_seed(seed)
    x = torch.as_tensor(system.start).flatten() + 0.1 * torch.randn(n, 12, generator=generator, dtype=torch.float64)
    labels: dict[str, Any] = {"energy": system.energy(x).numpy(), "forces": system.forces(x).numpy()}
    return Frames.from_numpy(x.numpy(), unit="reduced", temperature_kT=0.25, **labels)


@pytest.fixture(scope="module")
def spring_fit() -> bcg.Fit:
    frames = springs()
    return bcg.fit(
        NeuralPotential(energy=Spring(), prior=10.0), frames, steps=500, batch_size=50, learning_rate=0.05, **SETTINGS
    )


def test_a_linear_energy_has_the_conjugate_posterior(spring_fit):
    """Mean and covariance are those of weighted least squares with the learned widths, which are those of the noise."""
    frames, model = springs(), spring_fit.model
    widths = (model.log_noise.exp() * model.sizes).detach().double().numpy()
    assert np.allclose(widths, 0.1, rtol=0.25)  # of 50 and of 300 labels; the first is sd 10 %
    x = np.asarray(frames.positions, dtype=np.float64).reshape(-1, 2, 3)
    bond = x[:, 0] - x[:, 1]
    of_energy = np.c_[0.5 * np.square(bond).sum(1), np.ones(len(x))] / (2**0.5 * widths[0])
    of_forces = np.c_[np.concatenate([-bond, bond], 1).ravel(), np.zeros(6 * len(x))] / widths[1]
    rows = np.concatenate([of_energy, of_forces])
    labels = np.concatenate([frames.energy / (2**0.5 * widths[0]), np.asarray(frames.forces).ravel() / widths[1]])
    precision = rows.T @ rows + np.eye(2) / 10.0**2
    mean, covariance = np.linalg.solve(precision, rows.T @ labels), np.linalg.inv(precision)
    draws = spring_fit.parameters(4000, seed=1)
    k_and_c = torch.stack([draws["net.energy.k"], draws["net.energy.c"]], 1).double().numpy()
    assert np.allclose(k_and_c.mean(0), mean, atol=0.2 * np.sqrt(covariance.diagonal()).min())
    assert np.allclose(np.cov(k_and_c.T), covariance, rtol=0.1, atol=0.05 * covariance.max())


def test_what_is_supplied_begins_with_its_weights_and_comes_back_from_a_file(spring_fit, tmp_path):
    spring_fit.save(tmp_path)
    with pytest.raises(ConfigError, match="energy= is a Spring of your own"):
        bcg.Fit.load(tmp_path)
    again = bcg.Fit.load(tmp_path, model=NeuralPotential(energy=Spring(), prior=10.0))
    x = torch.as_tensor(springs().positions)
    assert torch.equal(again.system().forces(x), spring_fit.system().forces(x))
    untrained = bcg.fit(
        NeuralPotential(energy=Spring()), springs(), steps=1, learning_rate=1e-9, uncertainty="none", **SETTINGS
    )
    assert float(untrained.weights.point["net.energy.k"]) == pytest.approx(2.5)


@pytest.mark.parametrize(
    "labels", ["some energies", *(pytest.param(only, marks=pytest.mark.slow) for only in ("energy", "forces"))]
)
def test_it_learns_from_what_there_is(labels):
    frames = morse()
    if labels == "energy":
        frames = replace(frames, forces=None)
    elif labels == "forces":
        frames = replace(frames, energy=None)
    else:
        frames = replace(frames, energy=np.where(np.arange(len(frames)) % 2, np.nan, np.asarray(frames.energy)))
    fit = bcg.fit(NeuralPotential(width=4, cutoff=3.0), frames, steps=100, uncertainty="none", **SETTINGS)
    system, x = fit.system(), torch.as_tensor(frames.positions)
    truth = MorseCluster(4)
    if labels == "energy":
        residual, spread = system.energy(x) - truth.energy(x), truth.energy(x).std()
    else:
        residual, spread = system.forces(x) - truth.forces(x), truth.forces(x).std()
    assert float(residual.square().mean().sqrt()) < 0.5 * float(spread)
    assert all(np.isfinite(row["loss"]) for row in fit.log)


def test_one_number_of_particles_teaches_another():
    """The energy of particles far apart is a sum; a fit goes to other numbers of them with its draws."""
    fit = bcg.fit(NeuralPotential(width=4, cutoff=3.0), morse(), steps=20, **SETTINGS)
    model: Any = fit.model
    double = fit.transferred(model.of(["particle"] * 8))
    x = torch.as_tensor(morse(3).positions)
    both = torch.cat([x, x + 50.0], 1)
    assert double.system().dim == 24
    torch.testing.assert_close(double.system().energy(both), 2 * fit.system().energy(x))
    torch.testing.assert_close(double.system(draw=2).energy(both), 2 * fit.system(draw=2).energy(x))
    with pytest.raises(DataError, match="knows particles of kind particle, not C"):
        model.of(["C", "particle"])
    with pytest.raises(ModelError, match="other parameters"):
        fit.transferred(NeuralPotential(kinds=["particle"] * 4, width=5))


def test_atoms_of_one_element_are_alike():
    system = bcg.systems.alanine_dipeptide()
    model = NeuralPotential(system.topology, width=4, temperature=300.0)
    assert model.species == ("C", "H", "N", "O")
    assert len(model.kinds or ()) == 22
    again = NeuralPotential.from_config(model.config())
    assert again.kinds == model.kinds


def test_bad_input_is_refused():
    frames = morse()
    for make, what in [
        (lambda: NeuralPotential(activation="relu"), "piecewise constant"),
        (lambda: NeuralPotential(energy=torch.nn.Sequential(torch.nn.ReLU())), r"module '0' .* is a ReLU"),
        (lambda: NeuralPotential(energy=lambda x: x), "a torch module from positions to energies"),  # pyright: ignore
        (lambda: NeuralPotential(width=0), "width=0"),
        (lambda: NeuralPotential(cutoff=-1.0), "cutoff=-1"),
    ]:
        with pytest.raises(ConfigError, match=what):
            make()
    together = np.array(frames.positions)
    together[7, 3:6] = together[7, 9:]
    planar = Frames.from_numpy(np.zeros((4, 2)), unit="reduced", temperature_kT=1.0, forces=np.ones((4, 2)))
    for data, what in [
        (replace(frames, energy=None, forces=None), "neither energies nor forces: sample with energy=True"),
        (replace(frames, positions=together), "frame 7: particles 1 and 3 are in one place"),
        (planar, "2 coordinates are not three for each particle"),
    ]:
        with pytest.raises(DataError, match=what):
            bcg.fit(NeuralPotential(), data, steps=1, **SETTINGS)
    with pytest.raises(DataError, match="of 39 coordinates"):
        bcg.fit(NeuralPotential(kinds=["particle"] * 13, dim=39), frames, steps=1, **SETTINGS)
    assert LennardJonesCluster(13).dim == 39


class Columns(Spring):
    """An energy of each particle, in a column: not one of a configuration."""

    def forward(self, x):
        return x.square().sum(-1, keepdim=True)


class Deaf(Spring):
    """Positions do not reach the energy."""

    def forward(self, x):
        return super().forward(x.detach()) + 0 * x.sum((1, 2))


def test_energies_of_the_wrong_shape_or_of_nothing_are_refused():
    for energy, words in ((Columns(), r"gives shape \(50, 2, 1\)"), (Deaf(), "does not depend on positions")):
        with pytest.raises(ConfigError, match=words):
            bcg.fit(NeuralPotential(energy=energy), springs(), steps=2, **SETTINGS)


def test_kinds_of_another_number_are_refused():
    with pytest.raises(DataError, match="kinds are of 5 particles, the frames of 4"):
        bcg.fit(NeuralPotential(kinds=["a"] * 5), morse(), steps=2, **SETTINGS)


def test_a_box_across_which_particles_see_each_other_is_refused():
    """A network has no minimum images; in a box twice as wide as the cluster it needs none."""
    frames = morse()
    wide = float(np.ptp(frames.positions.reshape(-1, 4, 3), 1).max())
    box = lambda side: replace(frames, box=np.broadcast_to(side * np.eye(3), (len(frames), 3, 3)))  # noqa: E731
    with pytest.raises(DataError, match="no periodic images"):
        bcg.fit(NeuralPotential(), box(1.9 * wide), steps=2, **SETTINGS)
    NeuralPotential().setup(box(2.1 * wide))


def test_bands_of_what_is_not_finite_are_refused(spring_fit):
    x = np.array(springs().positions[:3])
    x[1, 2] = np.nan
    with pytest.raises(DataError, match="frame 1 are not finite"):
        bcg.analysis.force_bands(spring_fit, x, draws=2)
