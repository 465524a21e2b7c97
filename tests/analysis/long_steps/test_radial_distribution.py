"""How far particles are apart: exact densities, kinds, draws."""

from dataclasses import replace

import mdtraj
import numpy as np
import pytest

from bayescg.analysis import radial_distribution
from bayescg.data import Frames
from bayescg.errors import DataError

N = 20_000


def cloud(atoms=3, seed=0, **more):
    """Particles of independent Gaussian positions: distances are Maxwell's, of scale sqrt 2."""
    x = np.random.default_rng(seed).normal(size=(N, 3 * atoms))
    return Frames.from_numpy(x, unit="reduced", temperature_kT=1.0, **more)


def test_distances_of_a_gaussian_cloud_are_maxwells():
    found = radial_distribution(cloud(), bins=50)
    r, values = found["r"].values, found.values[0, 0]
    width = r[1] - r[0]
    assert values.sum() * width == pytest.approx(2.0)  # the two others, wherever they are
    exact = 2 * np.sqrt(2 / np.pi) * r**2 * np.exp(-(r**2) / 4) / 2**1.5
    error = np.sqrt(np.maximum(exact, 1e-3) / (1.5 * N * width))  # three pairs a frame
    assert np.abs((values - exact) / error).max() < 5


def test_kinds_are_told_apart_and_draws_stand_side_by_side():
    top = mdtraj.Topology()
    residue = top.add_residue("X", top.add_chain())
    for symbol in ("Ar", "Ar", "Ne"):
        top.add_atom(symbol, mdtraj.element.Element.getBySymbol(symbol), residue)
    x = np.array([[[0, 0, 0], [0.3, 0, 0], [0, 0.4, 0]], [[0, 0, 0], [0.35, 0, 0], [0, 0.4, 0]]], dtype=float)
    frames = Frames.from_numpy(x, topology=top, unit="nm", temperature=300.0, trajectory=[0, 1])
    frames = replace(frames, provenance={**frames.provenance, "potential_draws": 2, "chains": 2})
    found = radial_distribution(frames, bins=6, longest=0.6)
    assert found["pair"].values.tolist() == ["Ar-Ar", "Ar-Ne"]
    neighbours = found.values * 0.1
    assert neighbours[0].argmax(1).tolist() == [3, 4]
    assert neighbours.sum(2) == pytest.approx(np.ones((2, 2)))  # one other argon; one neon
    assert found.sel(pair="Ar-Ne").values[0] * 0.1 == pytest.approx([0, 0, 0, 0, 0.5, 0.5])


def test_what_is_no_cluster_is_refused():
    with pytest.raises(DataError, match="has 2 coordinates"):
        radial_distribution(Frames.from_numpy(np.zeros((4, 2)), unit="reduced", temperature_kT=1.0))
    frames = cloud()
    with pytest.raises(DataError, match="have a box"):
        radial_distribution(replace(frames, box=np.broadcast_to(np.eye(3), (N, 3, 3))))
