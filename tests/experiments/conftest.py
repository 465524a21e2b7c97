"""One small finished run, shared; every test that changes a run works on a copy of its own."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from matplotlib.figure import Figure

from bayescg.experiments import Experiment, load, run
from bayescg.questions import Drawing
from bayescg.report import Figures, save_figures

DIPEPTIDE = Path(__file__).parent / "alanine-dipeptide.toml"


def silent(_: str) -> None:
    """Say nothing."""


DRAW = Figure.savefig
KINDS: set[Any] = set()
"""Code of the figures that this process has made."""


def save_kinds(folder: Path, drawings: Mapping[str, Drawing]) -> Figures:
    """Make one figure of each kind, the first that this process comes by, and save the others blank."""
    less = {}
    for name, drawing in drawings.items():
        kind = getattr(drawing.draw, "__code__", name)
        again = kind in KINDS and Figure.savefig is not DRAW
        less[name] = replace(drawing, draw=lambda: Figure(figsize=(0.1, 0.1))) if again else drawing
        KINDS.add(kind)
    return save_figures(folder, less)


@contextmanager
def blank_figures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Figures are saved blank, and made once of each kind: all of them take more than half of a small run.

    Each kind is drawn in the tests of `bayescg.plot`, those of a run in `test_cli.py`, and slow tests draw all.
    """
    if request.config.option.markexpr != "not slow":
        yield
        return

    def blank(_: Figure, stream: BinaryIO, **more: Any) -> None:
        DRAW(Figure(figsize=(0.1, 0.1)), stream, format="png")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank)
        patch.setattr("bayescg.experiments.runner.save_figures", save_kinds)
        yield


@pytest.fixture(autouse=True, scope="module")
def undrawn(request: pytest.FixtureRequest) -> Iterator[None]:
    with blank_figures(request):
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn all the same."""
    monkeypatch.setattr(Figure, "savefig", DRAW)


@pytest.fixture(scope="session")
def small() -> Callable[..., Experiment]:
    def make(*changes: str, **more: Any) -> Experiment:
        size = ("simulation.time=40.0", "fit.steps=20", "fit.members=3", "analysis.draws=10", "analysis.samples=100")
        return load(DIPEPTIDE, quick=True, changes=[*size, *changes], **more)

    return make


@pytest.fixture(scope="session")
def _finished(
    small: Callable[..., Experiment], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    path = tmp_path_factory.mktemp("runs") / "finished"
    with blank_figures(request):
        run(small(), path, silent)
    return path


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(_finished, tmp_path / "finished"))


@pytest.fixture
def unfinished(finished: Path) -> Path:
    """A copy of a run that was interrupted in its last stage."""
    for name in ("summary.json", "report.html", "posterior.nc"):
        (finished / name).unlink()
    return finished


@pytest.fixture
def own_files(_finished: Path) -> list[str]:
    """Trajectories, by a pattern, and topology as a user would give them."""
    folder = _finished / "trajectories"
    return [f"data.frames='{folder / '*.xtc'}'", f"data.top='{folder / 'topology.pdb'}'"]
