"""The public names: what notebooks, studies and checks outside of this repository are written against stays."""

import inspect
from typing import Any

import pytest
import typer

import bayescg as bcg
from bayescg.cli import app

PUBLIC = {
    "bayescg": "Batch Fit Model analysis data errors experiments export features fit models nets plot sampling systems "
    "truth units",
    "bayescg.systems": "CurvedWell DoubleWell GaussianMixture Harmonic ManyWell32 MuellerBrown5D Prinz QuadrupleWell "
    "QuarticDoubleWell System ThreeWell5D ThreeWellRing alanine_dipeptide from_function from_openmm peptide "
    "LennardJonesCluster MorseCluster capped_peptide",
    "bayescg.systems.System": "energy forces log_prob guarded",
    "bayescg.sampling": "annealed_importance commitment equilibrium flattened hmc langevin molecular_dynamics "
    "overdamped parallel_tempering quench smc umbrella",
    "bayescg.data": "Frames Pairs Stretches from_colvar from_mdanalysis from_openmm load",
    "bayescg.data.Frames": "blocks first from_numpy lagged split stretches",
    "bayescg.features": "aligned cartesian chain contacts distances internal_coordinates native_contacts "
    "torsions unbounded_coordinates invariants",
    "bayescg.analysis": "audit chapman_kolmogorov committor compare coverage free_energy implied_timescales mixing "
    "multi_ensemble "
    "predictive_check reweighted spectrum hidden_states generated_states ForceBands calibrated force_bands",
    "bayescg.analysis.Ensemble": "average average_of kinetics",
    "bayescg.analysis.FreeEnergy": "difference profile",
    "bayescg.analysis.SlowModes": "eigenfunctions eigenvalues timescales",
    "bayescg.analysis.Quantity": "ci90 mean sd sd_by_source",
    "bayescg.truth": "committor expectation free_energy log_partition mean_first_passage_time spectrum",
    "bayescg.export": "to_openmm to_plumed",
    "bayescg.plot": "chapman_kolmogorov committor cv eigenfunctions free_energy loss methods mixing planes predicted "
    "predictive_check ramachandran spectrum timescales force_errors",
    "bayescg.experiments": "Experiment active load map names report resume run",
    "bayescg.nets": "MLP Whiten ard gaussian random_net DescriptorEnergy ParticleEnergy",
    "bayescg.models": "Autoencoder Backmapping BoltzmannGenerator EmbeddedPhysics ForceMatchingPotential "
    "GeneratorEigenfunctions HiddenMarkov MultitaskCV PredictiveCV ReversibleDeepMSM TimeLaggedAutoencoder "
    "VariationalDynamicsEncoder NeuralPotential",
    "bayescg.Fit": "cv cv_draws device generate generate_repeats guide_quality load log_csv log_density parameters "
    "posterior save system to_tensorboard transferred",
    "bayescg.Model": "additive config example finish from_config guide inputs kind minimum_batch model needs_frames "
    "needs_pairs objective positions reset rows setup",
    "bayescg.Batch": "plate",
}

ARGUMENTS = {
    "bayescg.fit": "model frames objective steps batch_size validation uncertainty members particles learning_rate "
    "clip compile device seed run_dir resume checkpoint_every progress",
    "bayescg.Fit.posterior": "draws seed",
    "bayescg.Fit.load": "directory model",
    "bayescg.sampling.langevin": "system steps chains dt seed",
    "bayescg.sampling.umbrella": "system cv steps dt starts windows walkers friction exchange_every seed",
    "bayescg.truth.spectrum": "system modes",
    "bayescg.truth.free_energy": "system cv bins",
    "bayescg.systems.alanine_dipeptide": "force_field solvent temperature",
    "bayescg.systems.capped_peptide": "sequence force_field solvent temperature",
    "bayescg.systems.from_function": "energy dim temperature_kT",
    "bayescg.data.load": "top temperature stride select",
    "bayescg.data.Frames.from_numpy": "unit dt temperature temperature_kT weights trajectory",
    "bayescg.data.Frames.split": "blocks test seed",
    "bayescg.data.Frames.lagged": "lag",
    "bayescg.analysis.spectrum": "fit frames draws seed",
    "bayescg.analysis.free_energy": "fit frames cv bins draws",
    "bayescg.analysis.predictive_check": "fit frames observables",
    "bayescg.analysis.compare": "fits on score lag",
    "bayescg.analysis.coverage": "experiment truth level repeats seed",
    "bayescg.export.to_openmm": "fit output top atoms refits native",
    "bayescg.export.to_plumed": "fit directory top frames atoms refits",
    "bayescg.experiments.active": "system model acquire until out quantity seed say",
    "bayescg.experiments.map": "run settings cluster",
}

COMMANDS = {"list", "run", "sweep", "resume", "report", "export", "check", "compare"}


def thing(path: str) -> Any:
    value: Any = bcg
    for name in path.split(".")[1:]:
        value = getattr(value, name)
    return value


@pytest.mark.parametrize("place", PUBLIC)
def test_public_names_stay(place):
    holder = thing(place)
    fields = getattr(holder, "__dataclass_fields__", {})
    for name in PUBLIC[place].split():
        assert hasattr(holder, name) or name in fields, f"{place}.{name} is gone"


@pytest.mark.parametrize("function", ARGUMENTS)
def test_arguments_stay(function):
    parameters = inspect.signature(thing(function)).parameters
    assert not set(ARGUMENTS[function].split()) - set(parameters)


def test_a_fit_takes_no_argument_that_is_not_listed():
    assert list(inspect.signature(bcg.fit).parameters) == ARGUMENTS["bayescg.fit"].split()


def test_commands_stay():
    group = typer.main.get_group(app)
    assert set(group.commands) >= COMMANDS
