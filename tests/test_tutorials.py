"""Every tutorial runs, is what its notebook shows, and was run in full before it was committed."""

import ast
import inspect
import operator
import os
import re
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
assert TUTORIALS
BY_DEFAULT = {"cv-in-engines"}
"""Those that are executed where slow tests are not: the quickest."""
NO_MATTER = r"(.*: .* of .* steps.* left\n|.*No CUDA runtime is found.*\n)+"
"""What samplers say on a slow machine, and a torch for cards where there is none."""

SMALL_FIGURES = "%matplotlib inline\n%config InlineBackend.print_figure_kwargs = {'bbox_inches': None, 'dpi': 20}"
"""Figures are drawn once and small: that they can be is asked, nobody looks at them."""


def named(path: Path) -> str:
    return path.stem


def sources(notebook: nbformat.NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.fixture(scope="module")
def executed(request: pytest.FixtureRequest, tmp_path_factory) -> dict[Path, list[nbformat.NotebookNode]]:
    """Code cells of each selected tutorial and their outputs, of one kernel, which forgets all names between two."""
    base = tmp_path_factory.mktemp("tutorials")
    whole, parts = nbformat.v4.new_notebook(), {}
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    selected: list[Path] = [item.callspec.params["path"] for item in tests if "executed" in item.fixturenames]  # type: ignore[misc]
    for path in selected:
        (base / path.stem).mkdir()
        parts[path] = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
        whole.cells += [nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {base / path.stem}"), *parts[path]]
    whole.cells.insert(0, nbformat.v4.new_code_cell(SMALL_FIGURES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BAYESCG_QUICK", "1")
        patch.setenv("PYTHONWARNINGS", "ignore:IProgress not found")  # tqdm's, where the kernel has no ipywidgets
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.getenv("PYTHONPATH")))))
        NotebookClient(whole, timeout=300, kernel_name="python3", allow_errors=True).execute()
    return parts


@pytest.mark.parametrize(
    "path", [pytest.param(p, marks=[] if p.stem in BY_DEFAULT else pytest.mark.slow) for p in TUTORIALS], ids=named
)
def test_tutorial_runs_without_a_word_on_stderr(executed, path):
    outputs = [output for cell in executed[path] for output in cell.outputs]
    assert ["\n".join(o.traceback) for o in outputs if o.output_type == "error"] == []
    said = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    said = [text for text in said if not re.fullmatch(NO_MATTER, text)]
    assert said == []
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 4


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_what_a_tutorial_calls_is_there_and_takes_these_arguments(path):
    tree, names = ast.parse(path.read_text(encoding="utf-8")), {}
    imports: list[ast.stmt] = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    exec(compile(ast.Module(imports, []), str(path), "exec"), names)
    checked = 0
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        first, _, rest = ast.unparse(call.func).partition(".")
        if not re.fullmatch(r"[\w.]*", rest):
            continue  # a method of what a call returns
        if first != "bcg" and not getattr(names.get(first), "__module__", "").startswith("bayescg"):
            continue
        function = operator.attrgetter(rest)(names[first]) if rest else names[first]
        positional = [None for argument in call.args if not isinstance(argument, ast.Starred)]
        words = {keyword.arg: None for keyword in call.keywords if keyword.arg}
        inspect.signature(function).bind_partial(*positional, **words)
        checked += 1
    assert checked >= 10


@pytest.mark.parametrize("path", TUTORIALS, ids=named)
def test_notebook_is_the_script_with_its_outputs(path):
    notebook = nbformat.read(path.with_suffix(".ipynb"), as_version=4)
    assert sources(notebook) == sources(jupytext.read(path)), f"write it again: jupytext --sync {path}"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert {o.output_type for cell in code for o in cell.outputs} <= {"display_data", "execute_result", "stream"}
    assert path.with_suffix(".ipynb").stat().st_size < 1_000_000
