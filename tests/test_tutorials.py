"""Every tutorial runs, is what its notebook shows, and was run in full before it was committed."""

import os
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

TUTORIALS = sorted((Path(__file__).parents[1] / "tutorials").glob("*.py"))
assert TUTORIALS


def named(path: Path) -> str:
    return path.stem


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_tutorial_runs_without_a_word_on_stderr(path, tmp_path, monkeypatch):
    monkeypatch.setenv("BAYESCG_QUICK", "1")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")  # tqdm's, where the kernel has no ipywidgets
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(path.parents[1]), os.getenv("PYTHONPATH")))))
    notebook = jupytext.read(path)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    assert said == []
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 4


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_notebook_is_the_script_with_its_outputs(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert sources(notebook) == sources(jupytext.read(path)), f"write it again: jupytext --sync {path}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {o.output_type for cell in code for o in cell.outputs} <= {"display_data", "execute_result", "stream"}
    assert path.with_suffix(".ipynb").stat().st_size < 1_000_000
