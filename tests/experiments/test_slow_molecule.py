"""Slow modes of alanine dipeptide: what the shipped experiment reads, and that it runs."""

import json
from pathlib import Path

import pytest

import bayescg as bcg
from bayescg.experiments import load, run
from bayescg.experiments.build import check

NAME = "alanine-dipeptide-eigenfunctions"


def test_all_torsions_of_heavy_atoms_are_read() -> None:
    experiment = load(NAME)
    check(experiment)
    topology = bcg.systems.alanine_dipeptide().topology
    assert topology is not None
    heavy = {a.index: i for i, a in enumerate(a for a in topology.atoms() if a.element.symbol != "H")}
    near: dict[int, set[int]] = {i: set() for i in heavy.values()}
    for one, other in topology.bonds():
        if one.index in heavy and other.index in heavy:
            near[heavy[one.index]].add(heavy[other.index])
            near[heavy[other.index]].add(heavy[one.index])
    expected = {(i, j, k, m) for j in near for k in near[j] for i in near[j] - {k} for m in near[k] - {j} if j < k}
    given = [tuple(q) if q[1] < q[2] else tuple(q[::-1]) for q in experiment.features.arguments["kind"]]
    assert len(given) == len(set(given))
    assert set(given) == expected


@pytest.mark.slow
def test_a_small_run_finds_the_exchange_along_psi(tmp_path: Path) -> None:
    """8.9 ps in a Markov model of a microsecond; 3 ns give it to about a fifth."""
    run(load(NAME, quick=True), tmp_path / "run", lambda _: None)
    found = json.loads((tmp_path / "run" / "summary.json").read_text())
    slowest = found["quantities"]["timescale_1"]
    assert slowest["unit"] == "ps"
    assert abs(slowest["mean"] - 8.9) < 4 * slowest["sd"] < 12
    drawn = {path.stem for path in (tmp_path / "run" / "figures").glob("*.png")}
    assert drawn == {"spectrum", "eigenfunctions", "timescales", "chapman_kolmogorov", "loss"}
