"""One small fit of every kind of uncertainty, for all tests of this folder."""

import numpy as np
import pytest

import bayescg as bcg
from bayescg.inference.uncertainty import CHOICES
from bayescg.models import PredictiveCV


def molecules(n: int = 40) -> bcg.data.Frames:
    rng = np.random.default_rng(0)
    x = rng.normal(scale=0.2, size=(1, 3, 3)) + 0.05 * rng.normal(size=(n, 1, 1)) * rng.normal(size=(1, 3, 3))
    x = (x + 0.01 * rng.normal(size=(n, 3, 3))).astype(np.float32)
    return bcg.data.Frames.from_numpy(x, unit="nm", temperature=300.0)


@pytest.fixture(scope="session")
def fits():
    settings = {"steps": 25, "members": 4, "learning_rate": 1e-2, "seed": 2}
    return {
        choice: bcg.fit(PredictiveCV(latent_dim=2, hidden=(4,)), molecules(), uncertainty=choice, **settings)
        for choice in CHOICES
    }
