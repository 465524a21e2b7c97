"""The code of the how-to pages runs, and prints what they say it prints."""

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
RUN = r"""
import re, sys
from pathlib import Path

for path in sys.argv[2:]:
    text = Path(path).read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    if sys.argv[1] == "small":
        code = re.sub(r"\bsteps=\d+", "steps=10, members=4", code)
        code = code.replace("(1.0, 5.0, 10.0)", "(0.2, 0.5, 1.0)").replace("lag=10.0", "lag=1.0")  # of 5 ps each
    print("PAGE", Path(path).stem)
    exec(compile(code, path, "exec"), {"__name__": "__main__"})
"""


@pytest.fixture(
    scope="module", params=["small", pytest.param("as it is", marks=pytest.mark.slow)], ids=["small", "as it is"]
)
def printed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """What each page prints, all of them in one process, where the files lie that they speak of."""
    folder = tmp_path_factory.mktemp("pages")
    time, every = (20.0, 0.1) if request.param == "small" else (500.0, 1.0)
    system = bcg.systems.alanine_dipeptide()
    bcg.sampling.molecular_dynamics(system, time, out=folder / "simulation", frame_every=every, equilibration=5.0)
    for k in range(4):
        shutil.copy(folder / "simulation" / f"trajectory-0{k}.xtc", folder / f"run-{k}.xtc")
    shutil.copy(folder / "simulation" / "topology.pdb", folder / "molecule.pdb")
    pages = [str(ROOT / "docs" / "how-to" / f"{page}.md") for page in PAGES]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", RUN, request.param, *pages]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return request.param, dict(re.findall(r"^PAGE (\S+)\n(.*?)(?=^PAGE|\Z)", done.stdout, re.DOTALL | re.MULTILINE))


def masked(text: str) -> list[str]:
    """Lines without their numbers, which differ between machines."""
    return [line.rstrip() for line in re.sub(r" *-?\d[\d,.]*(e-?\d+)?", "#", text).splitlines()]


def test_the_code_of_the_pages_runs_and_prints_what_they_say(printed):
    size, outputs = printed
    assert sorted(outputs) == PAGES
    for page in PAGES if size != "small" else ():
        text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
        for block in re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            assert [line for line in masked(block) if line not in masked(outputs[page])] == [], page
