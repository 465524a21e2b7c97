"""Fits of alanine dipeptide, conformations all over the (phi, psi) plane, and what CVs of them are by torch."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
from bayescg.features import features_from_config
from bayescg.inference.refit_cvs import mixture, refit_cvs, turned
from bayescg.inference.uncertainty import Posterior
from bayescg.models import Autoencoder, PredictiveCV, TimeLaggedAutoencoder

ATOMS = 22


def rotated(x: np.ndarray, axis: tuple[int, int], first: int, angle: float) -> np.ndarray:
    """Positions with all atoms from `first` on turned about the bond between two atoms."""
    a, u = x[axis[0]], x[axis[1]] - x[axis[0]]
    u, r = u / np.linalg.norm(u), x[first:] - a
    c, s = np.cos(angle), np.sin(angle)
    x = x.copy()
    x[first:] = a + c * r + s * np.cross(u, r) + (1 - c) * np.outer(r @ u, u)
    return x


@pytest.fixture(scope="session")
def molecule() -> Any:
    return bcg.systems.alanine_dipeptide()


@pytest.fixture(scope="session")
def conformations(molecule) -> np.ndarray:
    """``(64, 22, 3)``: a grid over both torsions, shaken."""
    rng, angles = np.random.default_rng(0), np.linspace(-np.pi, np.pi, 8, endpoint=False)
    grid = [rotated(rotated(molecule.start, (6, 8), 9, p), (8, 14), 15, q) for p in angles for q in angles]
    return np.array(grid) + 0.01 * rng.normal(size=(64, ATOMS, 3))


@pytest.fixture(scope="session")
def frames(molecule, conformations) -> bcg.data.Frames:
    order = np.random.default_rng(1).permutation(len(conformations))
    return bcg.data.Frames.from_numpy(
        conformations[order], unit="nm", dt=1.0, temperature=300.0, topology=molecule.topology
    )


@pytest.fixture(scope="session")
def torsions(molecule) -> bcg.features.Features:
    named = bcg.features.torsions(molecule)
    return bcg.features.chain(named, bcg.features.torsions(molecule, [(1, 4, 6, 8), (8, 14, 16, 18)]))


@pytest.fixture(scope="session")
def gaussian(frames, torsions) -> bcg.Fit:
    """Two CVs with widths, two hidden layers."""
    model = PredictiveCV(torsions, latent_dim=2, hidden=(6, 5))
    return bcg.fit(model, frames, steps=3, uncertainty="none", progress=False)


@pytest.fixture(scope="session")
def refitted(frames, molecule) -> bcg.Fit:
    """Three refits of two CVs."""
    model = Autoencoder(bcg.features.torsions(molecule), latent_dim=2, hidden=(4,))
    return bcg.fit(model, frames, steps=3, uncertainty="bootstrap", members=4, progress=False)


@pytest.fixture(scope="session")
def lengths(frames, molecule) -> bcg.Fit:
    """A CV of torsions, distances, contacts and the fraction of them, whitened, and of no width."""
    pairs = [(1, 18), (5, 16), (10, 21)]
    features = bcg.features.chain(
        bcg.features.distances(molecule, pairs=pairs),
        bcg.features.torsions(molecule),
        bcg.features.contacts(molecule, pairs=pairs, steepness=10.0),
        bcg.features.Contacts(ATOMS, pairs, ["a", "b", "c"], [0.4, 0.5, 0.6], 15.0, mean=True),
    )
    model = TimeLaggedAutoencoder(features, latent_dim=1, hidden=(5,))
    return bcg.fit(model, frames.lagged(1.0), steps=3, uncertainty="none", progress=False)


@pytest.fixture(scope="session")
def by_torch() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """Values ``(n,)`` and gradients ``(n, atoms, 3)`` of a CV or its width, by the fit itself in double precision."""

    def compute(fit: bcg.Fit, x: np.ndarray, output: str = "z1", refits: bool = True) -> tuple[np.ndarray, np.ndarray]:
        model: Any = copy.deepcopy(fit.model).double()
        model.features = features_from_config(model.features.config()).double()
        positions = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        if fit.gauge is None or not refits:
            cv = model.cv(positions)
        else:
            point, tensors = (
                {k: v.double() if v.is_floating_point() else v for k, v in part.items()}
                for part in (fit.weights.point, fit.weights.tensors)
            )
            weights = Posterior(fit.weights.kind, point, tensors, fit.weights.names)
            cv = mixture(*turned(*refit_cvs(model, weights, positions), fit.gauge.double()))
        values = (cv.mean if output.startswith("z") else cv.stddev)[:, int(output.lstrip("zsd")) - 1]
        (slopes,) = torch.autograd.grad(values.sum(), positions)
        return values.detach().numpy(), slopes.numpy()

    return compute
