"""A model's arguments are its configuration, and what it generates goes back to positions."""

from pathlib import Path
from typing import Any

import pytest
import torch

import bayescg as bcg
from bayescg.contract.model_files import models_in
from bayescg.data import toy_relaxations
from bayescg.errors import ModelError
from bayescg.models import PredictiveCV, TimeLaggedAutoencoder

GaussianMixture: Any = models_in(Path(__file__).parents[1] / "models" / "third_party" / "gaussian_mixture.py")[0]


def test_arguments_that_are_not_kept_are_named():
    class Forgetful(GaussianMixture):
        def __init__(self, dim, width=1.0):
            super().__init__(dim)

    with pytest.raises(ModelError, match=r"takes 'width' but does not keep it: write self.width = width"):
        Forgetful(2).config()


def test_nested_arguments_become_json():
    model = PredictiveCV(hidden=(8, 4), ard=(1.0, 2.0), dim=3)
    arguments = {"latent_dim": 2, "hidden": [8, 4], "ard": [1.0, 2.0], "layers": 6, "bins": 8, "coordinates": None}
    assert model.arguments("features", "dim") == arguments
    assert PredictiveCV.from_config(model.config()).config() == model.config()


def test_flat_coordinates_in_threes_are_positions_of_atoms():
    model = GaussianMixture(6)
    assert model.positions(torch.zeros(5, 4, 6)).shape == (5, 4, 2, 3)
    assert model.positions(torch.zeros(5, 4)).shape == (5, 4)


def test_inputs_of_a_models_own_ask_for_a_way_back():
    class Halved(GaussianMixture):
        def inputs(self, x):
            return 0.5 * super().inputs(x)

    with pytest.raises(ModelError, match=r"write Halved.positions\(x\)"):
        Halved(2).positions(torch.zeros(3, 2))
    pairs = toy_relaxations([0.9, 0.1], [[1.0, 0.0], [0.0, 1.0]]).lagged(1.0)
    model = TimeLaggedAutoencoder()
    model.setup(pairs)
    with pytest.raises(ModelError, match=r"write TimeLaggedAutoencoder.positions\(x\)"):
        model.positions(torch.zeros(3, 2))


def test_a_model_of_pairs_generates_nothing():
    model, pairs, _ = TimeLaggedAutoencoder.example()
    fit = bcg.fit(model, pairs, steps=2, compile="off", uncertainty="none")
    assert not fit.generates
    with pytest.raises(ModelError, match=r"TimeLaggedAutoencoder learns from pairs .* generates none"):
        fit.generate(3)


def test_arguments_that_are_handed_on_are_those_of_the_base():
    class Shifted(PredictiveCV):
        def __init__(self, shift=1.0, **config):
            super().__init__(**config)
            self.shift = shift

    config = Shifted(shift=2.0, dim=3, latent_dim=1).config()
    assert config == {"shift": 2.0, **PredictiveCV(dim=3, latent_dim=1).config()}
    assert Shifted.from_config(config).config() == config
