"""Forces on beads: exact ones of a Gaussian, one mean force by all aggregations, constraints, and what is refused."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.errors import ConfigError, DataError, TopologyError
from bayescg.features import beads
from bayescg.sampling import mapped_forces
from bayescg.sampling.coarse_graining.force_maps import optimal, ties
from bayescg.systems.molecules import constrain_hydrogens

FIVE = ["C ACE", "N ALA", "CA ALA", "C ALA", "N NME"]
KT = 1.5


@pytest.fixture(scope="module")
def gaussian() -> tuple[Any, bcg.data.Frames, np.ndarray]:
    """A quadratic energy of four coordinates, exact draws of it, and their covariance."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 4))
    stiffness = torch.tensor(a @ a.T + np.eye(4))
    system = bcg.systems.from_function(lambda x: 0.5 * ((x @ stiffness.to(x.dtype)) * x).sum(-1), 4, temperature_kT=KT)
    covariance = KT * np.linalg.inv(stiffness.numpy())
    x = rng.multivariate_normal(np.zeros(4), covariance, size=4000)
    return system, bcg.data.Frames.from_numpy(x, unit="reduced"), covariance


@pytest.fixture(scope="module")
def dipeptide() -> tuple[Any, bcg.data.Frames]:
    """Alanine dipeptide with flexible bonds: 2 ps of each of 64 chains, after half of one."""
    system = bcg.systems.alanine_dipeptide()
    settings: dict[str, Any] = {"dt": 0.0005, "chains": 64, "stride": 200, "forces": True}
    return system, bcg.sampling.langevin(system, 4_000, equilibration=1_000, **settings)


def test_optimal_forces_of_a_gaussian_have_no_noise(gaussian: Any):
    system, frames, covariance = gaussian
    mapping = beads(4, [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])
    m = mapping.matrix.numpy()
    inverse = np.linalg.inv(m @ covariance @ m.T)
    f_covariance = KT**2 * np.linalg.inv(covariance)
    np.testing.assert_allclose(optimal(mapping, np.eye(4), f_covariance), inverse @ m @ covariance, atol=1e-12)
    exact = -KT * np.asarray(frames.positions) @ m.T @ inverse
    forces = mapped_forces(frames, system, mapping)
    np.testing.assert_allclose(forces.positions, np.asarray(frames.positions) @ m.T)
    noise = [
        np.square(mapped_forces(frames, system, mapping, how).forces - exact).mean() for how in ("slice", "optimal")
    ]
    assert noise[1] < 2e-3 * noise[0]  # a map of 2000 frames is off by a fortieth
    assert (forces.kT, forces.topology) == (KT, None)


def test_a_slice_of_a_gaussian_has_the_exact_mean_force(gaussian: Any):
    system, frames, covariance = gaussian
    mapping = beads(4, [[1.0, 0.0, 0.0, 0.0]])
    forces = mapped_forces(frames, system, mapping, aggregation="slice")
    x, f = np.asarray(forces.positions)[:, 0], np.asarray(forces.forces)[:, 0]
    slope = (x @ f) / (x @ x)
    error = np.std(f - slope * x) / np.sqrt(x @ x)
    assert abs(slope + KT / covariance[0, 0]) < 3.5 * error


def test_all_aggregations_have_the_same_mean_force(dipeptide: Any):
    system, frames = dipeptide
    mapping = beads(system, FIVE)
    by = {how: mapped_forces(frames, system, mapping, how) for how in ("slice", "basic", "optimal")}
    square = {how: np.mean(part.provenance["mapped"]["mean_square_forces"]) for how, part in by.items()}
    assert (
        square["optimal"] < 0.65 * square["slice"] < 0.65 * 1.3 * square["basic"]
    )  # 0.72, 1.47 and 1.21 of 7680 frames
    r = np.asarray(by["slice"].positions, np.float64)
    for a, b in [(0, 1), (0, 2), (1, 3), (0, 4)]:
        d = r[:, a] - r[:, b]
        length = np.linalg.norm(d, axis=1)
        for h in (1.0, length - length.mean(), np.sin(9 * length)):
            field = (h * (d / length[:, None]).T).T
            for how in ("basic", "optimal"):
                difference = (by[how].forces - by["slice"].forces).astype(np.float64)
                values = ((difference[:, a] - difference[:, b]) * field).sum(1).reshape(64, -1).mean(1)
                assert abs(values.mean()) < 3.9 * values.std(ddof=1) / 8  # 24 of them, by chains


def test_forces_are_those_of_the_system_where_frames_have_none(dipeptide: Any):
    system, frames = dipeptide
    mapping, part = beads(system, "residues"), frames[:200]
    forces = mapped_forces(part, None, mapping, "slice")
    np.testing.assert_allclose(forces.forces.sum(1), part.forces.sum(1), atol=0.05)
    again = mapped_forces(replace(part, forces=None, energy=np.zeros(200)), system, mapping, "slice")
    np.testing.assert_allclose(again.forces, forces.forces, atol=0.05)
    assert again.energy is None  # that of all atoms is none of the beads
    assert np.array_equal(again.trajectory, part.trajectory)
    assert again.temperature == 330.0
    # the temperature is the system's where frames do not say
    assert mapped_forces(replace(part, temperature=None), system, mapping, "slice").temperature == 330.0


def test_a_map_is_not_fitted_on_the_frames_that_it_is_used_on(gaussian: Any):
    system, frames, _ = gaussian
    mapping = beads(4, [[1.0, 0.0, 0.0, 0.0]])
    f = system.forces(torch.as_tensor(frames.positions)).numpy()
    disturbed = f.copy()
    disturbed[0] *= 100.0
    before, after = (
        mapped_forces(replace(frames, forces=values), None, mapping).forces[1:] for values in (f, disturbed)
    )
    changed = (before != after).any(1)
    assert abs(changed.mean() - 0.5) < 0.01  # the half that frame 0 is not in


def test_the_optimum_is_one_where_forces_add_up_to_zero():
    rng = np.random.default_rng(1)
    f = rng.normal(size=(500, 6)) @ np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    f -= f.mean(1, keepdims=True)
    covariance, groups = f.T @ f / 500, ties(6, [(4, 5)])
    mapping = beads(6, [[1.0, 0, 0, 0, 0, 0], [0, 1.0, 0, 0, 0, 0]])
    w = optimal(mapping, groups, covariance)
    np.testing.assert_allclose(w @ mapping.matrix.numpy().T, np.eye(2), atol=1e-10)
    np.testing.assert_allclose(w[:, 4], w[:, 5], atol=1e-10)
    allowed = np.array([[0, 0, 1.0, 0, 0, 0], [0, 0, 0, 1.0, 0, 0], [0, 0, 0, 0, 1.0, 1.0]])
    np.testing.assert_allclose(allowed @ covariance @ w.T, 0, atol=1e-9)  # no step lowers the mean square


def test_weights_count(gaussian: Any):
    system, frames, _ = gaussian
    mapping = beads(4, [[1.0, 0.0, 0.0, 0.0]])
    f = system.forces(torch.as_tensor(frames.positions)).numpy()
    spoilt = np.concatenate([f, 50 * np.random.default_rng(2).normal(size=f.shape)])
    x = np.concatenate([frames.positions, frames.positions])
    weights = np.repeat([1.0, 0.0], len(f))
    both = bcg.data.Frames.from_numpy(x, unit="reduced", forces=spoilt, weights=weights)
    by_weights = mapped_forces(both, None, mapping)
    assert by_weights.weights is not None
    exact = mapped_forces(replace(frames, forces=f), None, mapping).provenance["mapped"]["mean_square_forces"]
    assert by_weights.provenance["mapped"]["mean_square_forces"] == pytest.approx(exact, rel=0.01)


@pytest.fixture(scope="module")
def constrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, bcg.data.Frames]:
    system = bcg.systems.alanine_dipeptide()
    out = tmp_path_factory.mktemp("constrained")
    settings: dict[str, Any] = {"chains": 1, "frame_every": 0.2, "equilibration": 1.0, "processes": 1}
    return system, bcg.sampling.molecular_dynamics(system, 20.0, out=out, **settings)


def test_constraints_are_seen_in_the_frames(constrained: Any, dipeptide: Any):
    system, frames = constrained
    mapping = beads(system, FIVE)
    forces = mapped_forces(frames, system, mapping, "basic")
    assert forces.provenance["mapped"]["constrained"] == 12
    rigid = constrain_hydrogens(system.openmm_system, system.topology)
    for pairs in (rigid, [(6, 7), (8, 9)]):
        again = mapped_forces(frames, system, mapping, "basic", constraints=pairs)
        np.testing.assert_array_equal(again.forces, forces.forces)
    assert mapped_forces(dipeptide[1], None, mapping).provenance["mapped"]["constrained"] == 0


def test_optimal_maps_tie_what_is_constrained(constrained: Any):
    system, frames = constrained
    mapping = beads(system, FIVE)
    f = system.forces(torch.as_tensor(frames.positions).flatten(1)).reshape(frames.positions.shape).numpy()
    pull = np.zeros_like(f)
    pull[:, 6], pull[:, 7] = 1e4, -1e4  # along a constrained bond, N-H
    along = [mapped_forces(replace(frames, forces=values), None, mapping).forces for values in (f, f + pull)]
    np.testing.assert_allclose(along[0], along[1], atol=0.1)
    free = [
        mapped_forces(replace(frames, forces=values), None, mapping, constraints=[]).forces for values in (f, f + pull)
    ]
    assert np.abs(free[0] - free[1]).max() > 10.0  # the control


def test_a_slice_of_constrained_atoms_is_refused(constrained: Any):
    system, frames = constrained
    with pytest.raises(DataError, match=r"bead (N|CA) \d+: the bonds among ALA2-.*ALA2-H.* were constrained.*basic"):
        mapped_forces(frames, system, beads(system, FIVE), "slice")
    # of a carbonyl no bond was
    mapped_forces(frames, system, beads(system, ["C ACE", "C ALA"]), "slice")


@pytest.mark.parametrize("how", ["basic", "optimal"])
def test_beads_that_a_constraint_joins_are_refused(dipeptide: Any, how: str):
    system, frames = dipeptide
    with pytest.raises(DataError, match=r"beads (N 7 and CA 9|CA 9 and N 7) have no mean force"):
        mapped_forces(frames, system, beads(system, FIVE), how, constraints=[(6, 8)])


def test_beads_that_share_atoms_need_the_optimal_map(dipeptide: Any):
    system, frames = dipeptide
    matrix = np.zeros((2, 22))
    matrix[0, [4, 6]], matrix[1, [6, 8]] = 0.5, 0.5
    mapping = beads(system, matrix)
    with pytest.raises(DataError, match=r'share atoms.*"optimal"'):
        mapped_forces(frames, system, mapping, "slice")
    assert mapped_forces(frames, system, mapping).forces.shape == (len(frames), 2, 3)


def test_what_is_refused(dipeptide: Any):
    system, frames = dipeptide
    mapping, bare = beads(system, FIVE), replace(frames, forces=None)
    with pytest.raises(DataError, match=r"no forces: give the system"):
        mapped_forces(bare, None, mapping)
    with pytest.raises(ConfigError, match="aggregation='sum'"):
        mapped_forces(frames, system, mapping, "sum")
    with pytest.raises(ConfigError, match=r"the mapping is a Torsions; make it by bcg.features.beads"):
        mapped_forces(frames, system, bcg.features.torsions(system))  # type: ignore[arg-type]
    with pytest.raises(TopologyError, match=r"of 22 atoms, the beads of another system: Beads\(.*of 2 coordinates"):
        mapped_forces(frames, system, beads(2, [[1.0, 0.0]]))
    with pytest.raises(TopologyError, match="66 coordinates, the system 2"):
        mapped_forces(frames, bcg.systems.DoubleWell(), mapping)
    with pytest.raises(DataError, match=r"20 frames are fewer than the 30"):
        mapped_forces(frames[:20], None, mapping, constraints=[])
    with pytest.raises(DataError, match=r"5 frames are too few to see"):
        mapped_forces(frames[:5], None, mapping, "slice")
    with pytest.raises(DataError, match="without a topology"):
        mapped_forces(replace(frames, topology=None), None, mapping)
    with pytest.raises(ConfigError, match=r"constraints=\(0, 22\) is of atoms that do not exist"):
        mapped_forces(frames, None, mapping, constraints=[(0, 22)])
    with pytest.raises(ConfigError, match=r"constraints='h-bonds': give"):
        mapped_forces(frames, None, mapping, constraints="h-bonds")
    x = np.array(frames.positions)
    x[30, 18] = np.nan
    with pytest.raises(DataError, match="frame 30 has no finite forces"):
        mapped_forces(replace(bare, positions=x), system, mapping, "slice")
