"""Arguments of models that cannot be, frames of another temperature and fits of another system are refused."""

from typing import Any

import numpy as np
import pytest
import torch

import bayescg as bcg
import bayescg.models
from bayescg.errors import CheckpointError, ConfigError, DataError, ModelError

models: Any = bayescg.models  # as people call them, whom no types hold
WELL = bcg.systems.DoubleWell()
QUERIED = ("BoltzmannGenerator", "EmbeddedPhysics")
POTENTIALS = ("Backmapping", "ForceMatchingPotential", "NeuralPotential")
"""These read positions, by descriptors or coordinates of their own."""
OF_STATES = ("ActionMap", "DirectMap")
"""These read positions and momenta."""
WITHOUT_LAYERS = ("EffectiveDynamics", "HiddenMarkov", "NeuralPotential", *OF_STATES)
LATENT = ("Autoencoder", "EmbeddedPhysics", "PredictiveCV", "TimeLaggedAutoencoder", "VariationalDynamicsEncoder")


def made(name, **arguments):
    first = {**dict.fromkeys(QUERIED, (WELL,)), "Backmapping": ("CA",)}
    return getattr(models, name)(*first.get(name, ()), **arguments)


@pytest.mark.parametrize("name", [name for name in bayescg.models.__all__ if name not in WITHOUT_LAYERS])
def test_widths_of_layers(name):
    for hidden in (8, [0], [8, 2.5], "8"):
        with pytest.raises(ConfigError, match=r"hidden=.* sequence of widths"):
            made(name, hidden=hidden)


@pytest.mark.parametrize("name", LATENT)
def test_numbers_of_latent_variables(name):
    for latent_dim in (1.5, 0, True, "2"):
        with pytest.raises(ConfigError, match=r"latent_dim=.* whole number, at least 1"):
            made(name, latent_dim=latent_dim)


@pytest.mark.parametrize(
    "name", [name for name in bayescg.models.__all__ if name not in QUERIED + POTENTIALS + OF_STATES]
)
def test_features_are_features(name):
    for features in (np.zeros((5, 3)), lambda x: x, "torsions"):
        with pytest.raises(ConfigError, match=r"features are a .*; give some of bcg.features"):
            made(name, features=features)


@pytest.mark.parametrize("name", QUERIED)
def test_a_system_is_a_system(name):
    for system, what in ((type(WELL), r"DoubleWell\(\)"), (lambda x: x.sum(-1), "from_function"), (None, "NoneType")):
        with pytest.raises(ConfigError, match=f"not a System.*{what}|{what}.*not a System"):
            getattr(models, name)(system)
    with pytest.raises(ConfigError, match="unbounded_coordinates"):
        made(name, coordinates=bcg.features.cartesian(2))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("BoltzmannGenerator", {"reach": 0.0}),
        ("BoltzmannGenerator", {"reach": -1}),
        ("BoltzmannGenerator", {"buffer": 1000.5}),
        ("BoltzmannGenerator", {"guard": -5}),
        ("BoltzmannGenerator", {"layers": 2.5}),
        ("BoltzmannGenerator", {"bins": 1}),
        ("BoltzmannGenerator", {"energy_weight": float("nan")}),
        ("BoltzmannGenerator", {"warm": 0}),
        ("EmbeddedPhysics", {"guard": 0.0}),
        ("EmbeddedPhysics", {"components": 2.5}),
        ("EmbeddedPhysics", {"wake": float("nan")}),
        ("EmbeddedPhysics", {"beta_start": "a"}),
        ("GeneratorEigenfunctions", {"modes": 1.5}),
        ("GeneratorEigenfunctions", {"system": type(WELL)}),
        ("HiddenMarkov", {"states": 0}),
        ("HiddenMarkov", {"stretch": 2}),
        ("ReversibleDeepMSM", {"states": 0}),
        ("ReversibleDeepMSM", {"states": 2.5}),
        ("ReversibleDeepMSM", {"concentration": -1.0}),
        ("ReversibleDeepMSM", {"generator": "diffusion"}),
        ("ReversibleDeepMSM", {"layers": 0}),
        ("PredictiveCV", {"ard": (1.0, 0.0)}),
        ("PredictiveCV", {"dim": 0}),
        ("GeneratorEigenfunctions", {"sparsity": "a"}),
        ("TimeLaggedAutoencoder", {"lag": float("nan")}),
        ("VariationalDynamicsEncoder", {"rank": 0}),
    ],
)
def test_a_number_out_of_range_is_named_alone(name, arguments):
    """The message is of the argument at fault, and of no other."""
    (wrong,) = arguments
    with pytest.raises(ConfigError, match=rf"^{wrong}(\[1\])?=[^=]*$"):
        made(name, **arguments)


@pytest.mark.parametrize("name", ["BoltzmannGenerator", "GeneratorEigenfunctions"])
def test_frames_of_another_temperature_are_refused(name):
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    model = getattr(models, name)(system=WELL, hidden=(4,))
    hot = bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=2.0)
    with pytest.raises(DataError, match=r"frames are at kT = 2, the system at kT = 1"):
        bcg.fit(model, hot, steps=1, compile="off")
    model.setup(bcg.data.Frames.from_numpy(x, unit="reduced", temperature_kT=1.0))
    model.setup(bcg.data.Frames.from_numpy(x, unit="reduced", weights=np.ones(300)))


def test_frames_that_are_all_the_same_have_no_slow_modes():
    same = bcg.data.Frames.from_numpy(np.ones((300, 2)), unit="reduced", temperature_kT=1.0)
    with pytest.raises(DataError, match="all frames are the same"):
        bcg.fit(models.GeneratorEigenfunctions(modes=1, hidden=(4,)), same, steps=1, compile="off")


def test_terms_of_a_regularised_autoencoder_have_strengths():
    with pytest.raises(ModelError, match="maps terms to their strengths"):
        models.Autoencoder(regularise=["rayleigh"])
    with pytest.raises(ConfigError, match=r"rayleigh=-1.0 must be a number in \[0, inf\)"):
        models.Autoencoder(regularise={"rayleigh": -1.0})


def test_weighted_draws_are_enough_for_their_tail():
    fit = bcg.fit(made("BoltzmannGenerator", hidden=(4,), beta_start=1.0), steps=2, batch_size=64, compile="off")
    asks: list[Any] = [bcg.analysis.reweighted, lambda fit, samples: bcg.analysis.audit(fit, samples=samples)]
    for samples in (3, 0, -1, 250.5):
        for ask in asks:
            with pytest.raises(ConfigError, match=r"samples=.* must be a whole number, at least 100"):
                ask(fit, samples)
    assert len(bcg.analysis.reweighted(fit, samples=100)) == 100


def own(stiffness, kT=1.0):
    return bcg.systems.from_function(lambda x: 0.5 * stiffness * (x**2).sum(-1), dim=2, temperature_kT=kT)


@pytest.mark.parametrize("name", QUERIED)
def test_a_fit_is_loaded_with_its_own_system_only(name, tmp_path):
    small: dict[str, Any] = {"hidden": (4,), "beta_start": 1.0}
    of = lambda system, **other: getattr(models, name)(system, **{**small, **other})  # noqa: E731
    fit = bcg.fit(of(own(1.0)), steps=2, batch_size=64, compile="off")
    fit.save(tmp_path)
    again = bcg.Fit.load(tmp_path, model=of(own(1.0)))
    assert torch.equal(again.generate(5), fit.generate(5))
    with pytest.raises(ConfigError, match="make the model with it again"):
        bcg.Fit.load(tmp_path)
    for other in (own(2.0), own(1.0, kT=1.1), bcg.systems.from_function(lambda x: x.sum(-1), dim=3)):
        with pytest.raises(CheckpointError, match=r"fit of another system|does not fit"):
            bcg.Fit.load(tmp_path, model=of(other))
    with pytest.raises(CheckpointError, match="the fit is of another cess"):
        bcg.Fit.load(tmp_path, model=of(own(1.0), cess=0.8))
    known = bcg.fit(of(WELL), steps=2, batch_size=64, compile="off")
    known.save(tmp_path / "known")
    loaded: Any = bcg.Fit.load(tmp_path / "known").model
    assert loaded.system.kT == 1.0
    with pytest.raises(CheckpointError, match="the fit is of another system"):
        bcg.Fit.load(tmp_path / "known", model=of(bcg.systems.DoubleWell(temperature_kT=2.0)))


def test_numbers_of_draws_of_a_fit():
    fit: Any = bcg.fit(made("EmbeddedPhysics", hidden=(4,), beta_start=1.0), steps=2, batch_size=64, compile="off")
    for ask, what in (
        (lambda: fit.generate(0), "frames=0"),
        (lambda: fit.generate(1.5), "frames=1.5"),
        (lambda: fit.generate(3, draws=0), "draws=0"),
        (lambda: fit.generate_repeats(3, 0), "repeats=0"),
        (lambda: fit.generate(3, seed=-1), "seed=-1"),
    ):
        with pytest.raises(ConfigError, match=what):
            ask()
