"""The code of the README and of the how-to pages runs, and prints what these say it prints."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bayescg as bcg

ROOT = Path(__file__).parents[1]
PAGES = sorted(p.stem for p in (ROOT / "docs" / "how-to").glob("*.md") if p.stem != "index")
SIMULATED = "trajectory-00.xtc", "trajectory-01.xtc", "trajectory-02.xtc", "trajectory-03.xtc", "topology.pdb"
READ = "run-0.xtc", "run-1.xtc", "run-2.xtc", "run-3.xtc", "molecule.pdb"
"""Files that pages read."""
SMALLER = {
    "(), 200.0,": "(), 20.0, frame_every=0.1, equilibration=5.0,", "steps=500, batch": "steps=10, members=4, batch",
    "200, dt=0.01": "100, dt=0.01", "shots=10": "shots=5", "fit, 6000": "fit, 3000",
}  # fmt: skip
"""What is made smaller in the README, beside the steps of the other pages, which read what it has simulated."""
RUN = r"""
import json, os, re, sys, warnings
from pathlib import Path

root, smaller, pages, files = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])

def blocks(path):
    return re.findall(r"^```python\n(.*?)^```", (root / path).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)

print("PAGE README")
os.chdir("readme")
first, _, third = blocks("README.md")  # the second goes on with a run of minutes
with warnings.catch_warnings(action="error", category=UserWarning):
    for code in (first, third):
        for words, less in smaller.items():
            code = code.replace(words, less)
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
os.chdir("..")
for simulated, read in files if smaller else ():
    os.link(f"readme/simulation/{simulated}", read)
for page in pages:
    code = "\n".join(blocks(f"docs/how-to/{page}.md"))
    if smaller:
        code = re.sub(r"\bsteps=\d+", "steps=10, members=4", code)
        code = code.replace("(1.0, 5.0, 10.0)", "(0.2, 0.5, 1.0)").replace("lag=10.0", "lag=1.0")  # of 5 ps each
        code = code.replace("folds=5", "folds=3").replace("fit, 10_000", "fit, 400")
    print("PAGE", page)
    exec(compile(code, f"{page}.md", "exec"), {"__name__": "__main__"})
assert "bayescg.plot" in sys.modules
assert "matplotlib.pyplot" not in sys.modules, "figures that belong to nobody's session are drawn without it"
"""


@pytest.fixture(
    scope="module", params=["small", pytest.param("as it is", marks=pytest.mark.slow)], ids=["small", "as it is"]
)
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Where the files lie, and what each page prints, all of them in one process and each block of the README alone."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "readme").mkdir()
    if request.param != "small":
        system = bcg.systems.alanine_dipeptide()
        bcg.sampling.molecular_dynamics(system, 500.0, out=folder / "simulation", equilibration=5.0)
        for simulated, read in zip(SIMULATED, READ, strict=True):
            shutil.copy(folder / "simulation" / simulated, folder / read)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    smaller = SMALLER if request.param == "small" else {}
    texts = map(json.dumps, (smaller, PAGES, list(zip(SIMULATED, READ, strict=True))))
    command = [sys.executable, "-c", RUN, str(ROOT), *texts]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, dict(re.findall(r"^PAGE (\S+)\n(.*?)(?=^PAGE|\Z)", done.stdout, re.DOTALL | re.MULTILINE))


def test_the_python_of_the_readme_runs(printed):
    folder, outputs = printed
    assert "PredictiveCheck" in outputs["README"]
    assert outputs["README"].count("Quantity(") == 2
    assert (folder / "readme" / "cv.png").read_bytes().startswith(b"\x89PNG")


def test_the_loop_of_the_readme_runs(printed):
    _, outputs = printed
    assert "Mixing(mixed" in outputs["README"]
    assert "Rates(rate_ab" in outputs["README"]


def test_what_is_made_smaller_stands_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [words for words in SMALLER if text.count(words) != 1] == []


@pytest.mark.parametrize("page", ["docs/how-to/run.md", "CONTRIBUTING.md"])
def test_experiment_files_of_the_pages_are_some(page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    files = [f for f in re.findall(r"^```toml\n(.*?)^```", text, re.DOTALL | re.MULTILINE) if "[experiment]" in f]
    assert files
    for path in (tmp_path / "molecule.pdb", tmp_path / "run-0.xtc", tmp_path / "factor_analysis.py"):
        path.touch()
    for file in files:
        (tmp_path / "mine.toml").write_text(file, encoding="utf-8")
        bcg.experiments.load(tmp_path / "mine.toml")


def masked(text: str) -> list[str]:
    """Lines without their numbers, which differ between machines."""
    return [line.rstrip() for line in re.sub(r" *-?\d[\d,.]*(e-?\d+)?", "#", text).splitlines()]


def test_the_code_of_the_pages_runs_and_prints_what_they_say(printed):
    folder, outputs = printed
    assert sorted(outputs) == ["README", *PAGES]
    for page in PAGES if (folder / "simulation").exists() else ():  # not those that are made smaller
        text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
        for block in re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            assert [line for line in masked(block) if line not in masked(outputs[page])] == [], page
