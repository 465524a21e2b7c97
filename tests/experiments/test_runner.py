import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from bayescg.errors import CheckpointError, ConfigError, DeviceError, OutputError, TopologyError, UnitError
from bayescg.experiments import Experiment, load, report, resume, run
from bayescg.features import Aligned
from bayescg.inference import Fit


def silent(_: str) -> None:
    """Say nothing."""


def results(path: Path) -> dict[str, Any]:
    return json.loads((path / "summary.json").read_text())


def test_a_run_leaves_everything_that_is_promised(finished: Path) -> None:
    for name in (
        "config.toml",
        "checkpoint",
        "fit/fit.json",
        "posterior.nc",
        "report.html",
        "trajectories/topology.pdb",
    ):
        assert (finished / name).exists(), name
    assert list((finished / "trajectories").glob("*.xtc"))
    assert not list(finished.rglob("*.partial*"))
    with xr.open_datatree(finished / "posterior.nc", engine="h5netcdf") as tree:
        assert {"posterior", "posterior_predictive", "observed_data"} <= set(tree.children)
        assert "correlated" in tree.attrs["no_log_likelihood"]
        assert tree["posterior"].dataset["refit"].values.tolist() == [0, 1]  # each once
    assert Fit.load(finished / "fit").weights.members == 2


def test_the_summary_has_the_published_layout(finished: Path) -> None:
    found = results(finished)
    assert list(found) == [
        "schema", "experiment", "seed", "kind", "versions", "compiled", "quantities", "diagnostics", "cost",
    ]  # fmt: skip
    assert (found["schema"], found["experiment"], found["seed"]) == (1, "alanine-dipeptide", 0)
    assert (found["kind"], found["compiled"]) == ("evidence", "off")
    for name, quantity in found["quantities"].items():
        assert list(quantity) == ["unit", "mean", "sd", "ci90", "truth", "sd_by_source"], name
        assert set(quantity["sd_by_source"]) == {"sampling", "parameter", "intrinsic"}, name
        if quantity["ci90"] is not None:
            assert quantity["ci90"][0] < quantity["mean"] < quantity["ci90"][1], name
        assert quantity["sd"] is not None or quantity["mean"] is None, f"{name} is a number without an uncertainty"
    told = found["diagnostics"]
    for name in ("pareto_k", "pareto_k_largest", "pareto_k_share_above_0.7", "ess_fraction"):
        assert isinstance(told[name], float), name
    assert told["pareto_k"] <= told["pareto_k_largest"]
    assert list(told["predictive_check"]) == ["rg", "rmsd", "end_to_end", "phi", "psi"]
    for check in told["predictive_check"].values():
        assert set(check) == {
            "average_off_in_sd", "spread_off", "p_mean", "p_sd", "bins_in_band", "intrinsic_sd", "unit",
        }  # fmt: skip
        assert 0 <= check["p_mean"] <= 1
    assert any("Monte Carlo error" in w for w in told["warnings"])  # 100 configurations are few
    assert set(found["cost"]) == {"energy_evaluations", "steps", "wall_seconds", "device"}
    # 2 trajectories of 2 ps equilibration and 40 ps, at 2 fs
    assert found["cost"]["energy_evaluations"] == 42_000
    assert found["cost"]["steps"] == 20


def test_the_molecule_is_alanine_dipeptide(finished: Path) -> None:
    found = results(finished)["quantities"]
    assert 0.2 < found["rg_of_frames"]["mean"] < 0.28  # nm, of the ten heavy atoms
    assert found["population_alpha"]["mean"] + found["population_beta"]["mean"] == pytest.approx(1, abs=1e-9)


def test_a_basin_that_is_rarely_entered_has_no_interval(finished: Path) -> None:
    found = results(finished)
    for name in ("population_phi_positive", "free_energy_phi_positive_to_phi_negative"):
        assert found["quantities"][name]["ci90"] is None
    assert any("phi_positive" in w and "simulate longer" in w for w in found["diagnostics"]["warnings"])


def test_resuming_repeats_nothing_and_gives_the_same_numbers(finished: Path, unfinished: Path) -> None:
    kept = [*(unfinished / "trajectories").glob("*.xtc"), *(unfinished / "fit").iterdir()]
    before = [f.stat().st_mtime_ns for f in kept]
    again = resume(unfinished, silent)
    assert [f.stat().st_mtime_ns for f in kept] == before
    assert again == results(unfinished)


def test_a_fit_repeated_from_its_checkpoint_gives_the_same_numbers(finished: Path) -> None:
    first = results(finished)
    (finished / "summary.json").unlink()
    for file in (finished / "fit").iterdir():
        file.unlink()
    assert resume(finished, silent)["quantities"] == first["quantities"]


def test_the_configuration_of_a_run_is_an_experiment_file(small: Callable[..., Experiment], finished: Path) -> None:
    assert load(finished / "config.toml") == small()


def test_a_finished_run_is_only_read(finished: Path) -> None:
    said: list[str] = []
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert resume(finished, said.append) == results(finished)
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before
    assert "nothing to resume" in said[0]


def test_the_report_is_made_again_and_the_numbers_stay(finished: Path) -> None:
    before = (finished / "summary.json").read_bytes()
    page = (finished / "report.html").read_bytes()
    (finished / "report.html").unlink()
    for figure in (finished / "figures").glob("*.png"):
        figure.unlink()
    assert report(finished, silent) == finished / "report.html"
    assert list((finished / "figures").glob("*.png"))
    assert (finished / "summary.json").read_bytes() == before
    assert (finished / "report.html").read_bytes() == page


def test_something_else_is_asked_of_the_same_fit(finished: Path) -> None:
    parts = {p: p.stat().st_mtime_ns for folder in ("trajectories", "fit") for p in (finished / folder).glob("[!.]*")}
    before = results(finished)
    changes = ["analysis.torsions=['psi ALA-2']", "analysis.regions.up.psi=[0.0, 180.0]", "analysis.observables=['rg']"]
    report(finished, silent, [*changes, "analysis.truth.rg=0.3", "analysis.truth.populaton_up=0.5"])
    after = results(finished)
    assert after["quantities"]["rg"].pop("truth") == 0.3
    before["quantities"]["rg"].pop("truth")
    (of_truth,) = [warning for warning in after["diagnostics"]["warnings"] if "is of no quantity" in warning]
    assert 'analysis.truth.populaton_up is of no quantity of this run: did you mean "population_up"?' in of_truth
    assert {p: p.stat().st_mtime_ns for p in parts} == parts
    assert after["quantities"]["rg"] == before["quantities"]["rg"]
    assert {"population_up"} == after["quantities"].keys() - before["quantities"].keys()
    assert {"rmsd", "end_to_end"} < before["quantities"].keys() - after["quantities"].keys()
    assert list(after["diagnostics"]["predictive_check"]) == ["rg", "psi ALA-2"]
    assert load(finished / "config.toml").analysis.torsions == ["psi ALA-2"]
    assert (finished / "figures" / "free_energy_psi_ALA-2.png").exists()
    assert not (finished / "figures" / "free_energy_torsions.png").exists()  # of what is no longer asked


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("fit.steps=3", "only keys of \\[analysis\\] can change"),
        ("analysis.torsion=['phi']", 'did you mean "torsions"'),
        ("analysis.torsions=['phi ALA-3']", "use one of phi ALA-2. To ask otherwise of this fit: bayescg report"),
    ],
)
def test_what_cannot_be_asked_touches_nothing(finished: Path, change: str, message: str) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"}
    with pytest.raises(ConfigError, match=message):
        report(finished, silent, [change])
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*") if p.name != ".lock"} == before


def test_a_report_says_which_questions_failed(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("no luck")

    monkeypatch.setattr("bayescg.questions.free_energies.FreeEnergies.ask", fail)
    said: list[str] = []
    report(finished, said.append)
    assert "warning: what free_energies asks could not be computed: ValueError: no luck" in said


def test_the_report_of_an_unfinished_run_is_refused(unfinished: Path) -> None:
    with pytest.raises(OutputError, match=r"not finished.*bayescg resume"):
        report(unfinished, silent)


def test_your_own_files_replace_the_simulation_and_what_was_refused(
    small: Callable[..., Experiment], own_files: list[str], finished: Path, tmp_path: Path
) -> None:
    """Frames that were refused leave only a configuration, which the mended run replaces."""
    with pytest.raises(UnitError):
        run(small(*own_files, "data.unit=angstrom"), tmp_path / "own", silent)
    found = run(small(*own_files, "data.temperature=330.0"), tmp_path / "own", silent)
    assert (tmp_path / "own" / "summary.json").exists()
    assert not (tmp_path / "own" / "trajectories").exists()
    assert found["cost"]["energy_evaluations"] == 0
    simulated = results(finished)["quantities"]
    assert found["quantities"]["rg_of_frames"] == simulated["rg_of_frames"]


def test_features_that_determine_no_positions_leave_predictions_out(
    small: Callable[..., Experiment], own_files: list[str], tmp_path: Path
) -> None:
    found = run(small(*own_files, "features.name=torsions"), tmp_path / "run", silent)
    assert any("predictions were not checked" in w for w in found["diagnostics"]["warnings"])
    assert "rg" not in found["quantities"]
    assert found["quantities"]["population_alpha"]["sd"] > 0


def test_a_fit_without_uncertainty_claims_no_intervals(
    small: Callable[..., Experiment], own_files: list[str], tmp_path: Path
) -> None:
    found = run(small(*own_files, "fit.uncertainty='none'"), tmp_path / "run", silent)
    assert found["quantities"]["rg"]["ci90"] is None
    assert found["quantities"]["rg_of_frames"]["ci90"] is not None
    assert any("no parameter uncertainty" in w for w in found["diagnostics"]["warnings"])


MODEL = '''
from bayescg.models import PredictiveCV


class Mine(PredictiveCV):
    """A model of one's own."""
'''


def test_one_seed_gives_one_result_of_a_model_file_of_ones_own_too(
    small: Callable[..., Experiment], own_files: list[str], finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(MODEL)
    files = [own_files, [*own_files, f"model.name='{tmp_path / 'mine.py'}:Mine'"]]
    first, again = (run(small(*f, seed=3), tmp_path / f"run-{len(f)}", silent)["quantities"] for f in files)
    assert np.isfinite(first["rg"]["mean"])
    assert first == again
    other = results(finished)["quantities"]  # of the same frames, with seed 0
    assert first["rg"]["mean"] != other["rg"]["mean"]


def test_frames_without_a_topology(small: Callable[..., Experiment], own_files: list[str], tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"trajectory-00\.xtc holds coordinates only.*top="):
        run(small(own_files[0]), tmp_path / "run", silent)


def test_a_topology_of_another_molecule(
    small: Callable[..., Experiment], own_files: list[str], finished: Path, tmp_path: Path
) -> None:
    lines = (finished / "trajectories" / "topology.pdb").read_text().splitlines()
    (tmp_path / "short.pdb").write_text(
        "\n".join(line for line in lines if " HB1 " not in line and "CONECT" not in line)
    )
    with pytest.raises(TopologyError, match="21"):
        run(small(own_files[0], f"data.top='{tmp_path / 'short.pdb'}'"), tmp_path / "run", silent)


THIRD_PARTY = Path(__file__).parents[1] / "models" / "third_party" / "good.py"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("system.name=alanine_dipeptid", ['did you mean "alanine_dipeptide"?']),
        ("system.forcefield=amber96", ["system.forcefield", "unknown argument", 'did you mean "force_field"?']),
        ("system.temperature=hot", ["system.temperature = 'hot'", "330.0"]),
        ("features.name=align", ['did you mean "aligned"?', "torsions"]),
        ("features.selection=all", ["features.selection", "select"]),
        ("model.name=PredictivCV", ['did you mean "PredictiveCV"?']),
        ("model.latent_dims=3", ["model.latent_dims = 3", 'did you mean "latent_dim"?', "hidden"]),
        ("model.latent_dim=two", ["model.latent_dim = 'two'", "like its default, 2"]),
        ("model.name=nowhere.py:Mine", ["nowhere.py"]),
        (f"model.name={THIRD_PARTY}:OneAxis", ["takes no features", 'features.name = "none"']),
        ("analysis.observables=['rog']", ['"rog"', "use one of rg"]),
        ("analysis.regions.x={ spi = [0.0, 1.0] }", ['did you mean "psi"?']),
    ],
)
def test_a_name_that_nothing_takes(
    small: Callable[..., Experiment], tmp_path: Path, change: str, told: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        run(small(change), tmp_path / "run", silent)
    for part in told:
        assert part in str(caught.value)


def test_cuda_where_there_is_none(
    small: Callable[..., Experiment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"no CUDA device.*--device auto"):
        run(small(device="cuda"), tmp_path / "run", silent)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_while_the_summary_is_written(unfinished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if "summary" in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"summary\.json: No space left on device"):
            resume(unfinished, silent)
    assert not (unfinished / "summary.json").exists()
    assert not list(unfinished.glob(".*partial"))
    assert resume(unfinished, silent) == results(unfinished)


@pytest.mark.parametrize("text", ['{"schema": 1', "", "[]", '{"schema": 99}'])
def test_a_damaged_summary_is_named(finished: Path, text: str) -> None:
    (finished / "summary.json").write_text(text)
    with pytest.raises(OutputError, match=r"summary\.json (is not a readable summary|has layout version 99)"):
        resume(finished, silent)


def test_a_damaged_fit_is_named(unfinished: Path) -> None:
    file = unfinished / "fit" / "fit.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"fit\.safetensors is truncated or altered"):
        resume(unfinished, silent)


def test_the_sources_of_every_sd_add_up_to_it(finished: Path) -> None:
    """Averages and free energies of frames are uncertain by sampling, predicted averages by parameters."""
    expected = {"rg": {"parameter"}, "rg_of_frames": {"sampling"}, "held_out_log_density": {"sampling", "parameter"}}
    expected |= {"population_alpha": {"sampling"}, "free_energy_alpha_to_beta": {"sampling"}}
    for name, quantity in results(finished)["quantities"].items():
        if quantity["sd"] is not None:
            named = {source: sd for source, sd in quantity["sd_by_source"].items() if sd is not None}
            assert sum(sd**2 for sd in named.values()) == pytest.approx(quantity["sd"] ** 2, rel=1e-6), name
            assert set(named) == expected.get(name, set(named)), name


def test_runs_are_aligned_to_the_same_conformation(finished: Path) -> None:
    """The reference is that of the topology file, not a frame: an RMSD means the same at every seed."""
    import mdtraj

    top = mdtraj.load(str(finished / "trajectories" / "topology.pdb"))
    heavy = top.xyz[0][top.topology.select("not element H")]
    features = Fit.load(finished / "fit").model.features
    assert isinstance(features, Aligned)
    held = features.reference.numpy()
    np.testing.assert_allclose(held - held.mean(0), heavy - heavy.mean(0), atol=1e-5)
