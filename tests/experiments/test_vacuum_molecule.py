"""The loop of shots, windows and free energies on a molecule: the shipped experiment, made small."""

import json
from pathlib import Path

import numpy as np
import pytest

from bayescg.errors import ConfigError
from bayescg.experiments import load, run
from bayescg.experiments.build import check
from bayescg.questions.reference import free_energy_rms
from bayescg.questions.references import load_reference

SMALL = (  # so hot that phi turns positive within a picosecond
    "shooting.heat=6.0", "shooting.hot_steps=800", "shooting.chains=40", "shooting.configurations=40",
    "shooting.shots=2", "fit.steps=50", "fit.members=2", "umbrella.windows=4", "umbrella.walkers=8",
    "umbrella.steps=200", "umbrella.equilibration=20", "umbrella.exchange_every=none",
)  # fmt: skip


def silent(_: str) -> None:
    """Say nothing."""


def test_the_experiment_is_sound() -> None:
    experiment = load("alanine-dipeptide-multitask")
    check(experiment)
    assert experiment.shooting is not None
    assert experiment.model.arguments["regions"] == experiment.shooting.states
    regions = experiment.analysis.regions
    assert experiment.analysis.reference is not None
    assert {name: regions[name] for name in ("C7eq", "C7ax")} == load_reference(experiment.analysis.reference).regions
    for name in ("C7eq", "C7ax"):  # shots end inside the basins whose populations are asked for
        (low, high), (first, last) = regions[f"core_{name}"]["phi"], regions[name]["phi"]
        assert (first <= low < high <= last) if first < last else (high <= last or low >= first)


def test_biased_frames_are_held_to_a_reference_of_their_system() -> None:
    name = "alanine-dipeptide-multitask"
    obc1 = ["analysis.reference=alanine-dipeptide-obc1-300K", "system.force_field=amber96"]
    check(load(name, changes=[*obc1, "system.solvent=obc1"]))
    with pytest.raises(ConfigError, match="with solvent = none the system is another"):
        check(load(name, changes=obc1))


def test_free_energies_of_histograms_differ_by_what_is_known() -> None:
    counts = np.kron(np.random.default_rng(0).uniform(1.0, 9.0, (8, 8)), np.ones((2, 2)))
    tilt = np.kron(np.where(np.arange(8) < 4, 0.3, -0.3)[:, None], np.ones((2, 16)))
    assert free_energy_rms(counts, 7.0 * counts, 3.0) == pytest.approx(0.0, abs=1e-12)
    assert free_energy_rms(counts, counts * np.exp(tilt), 3.0) == pytest.approx(0.3)
    empty = counts.copy()
    empty[:2, :2] = 0.0
    assert free_energy_rms(counts, empty, 3.0) == np.inf


def test_a_small_run_answers_everything(tmp_path: Path) -> None:
    run(load("alanine-dipeptide-multitask", quick=True, changes=SMALL), tmp_path / "run", silent)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    quantities = summary["quantities"]
    both = [quantities[f"population_{name}"]["mean"] for name in ("C7eq", "C7ax")]
    assert abs(sum(both) - 1.0) < 1e-9
    known = load_reference("alanine-dipeptide-vacuum-300K").populations
    assert quantities["population_C7ax"]["truth"] == known["C7ax"][0]
    assert quantities["free_energy_difference"]["truth"] == pytest.approx(np.log(known["C7eq"][0] / known["C7ax"][0]))
    assert summary["diagnostics"]["ramachandran"]["reference"] == "alanine-dipeptide-vacuum-300K"
    assert summary["diagnostics"]["ladder"]["born_high"] == [0.0, 1.0]  # nothing was exchanged
    assert not summary["diagnostics"]["ladder"]["mixed"]
    assert 'exchange_every = "none"' in (tmp_path / "run" / "config.toml").read_text()
    assert quantities["population_C7ax"]["ci90"] is None
    assert summary["cost"]["energy_evaluations"] > 40 * 880 + 32 * 220
    for name in ("ladder", "free_energy_torsions", "free_energy_cv"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").exists(), name
