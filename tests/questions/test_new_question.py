"""A new question is one file and one line: it is then in the summary, on the page, in the terminal and in notebooks."""

import json
from pathlib import Path

import numpy as np
import pytest

import bayescg as bcg
from bayescg import questions
from bayescg.experiments import load, run
from bayescg.inference import Fit
from bayescg.questions.reading_order import QUESTIONS

FILE = '''
"""How far the CV moves in a time between frames."""

import numpy as np

import bayescg as bcg
from bayescg.questions import Context, Drawing, Finding, Question, Table


class MeanSquaredDisplacement(Question):
    """Mean squared displacement of the first CV from frame to frame."""

    def applies(self, context: Context) -> bool:
        """To CVs of frames in time."""
        return hasattr(context.fit.model, "cv") and context.frames.order is not None

    def ask(self, context: Context) -> Finding:
        """One number, a table, a figure."""
        z = context.fit.cv(context.frames).mean[:, 0].numpy()
        whole = np.diff(context.frames.trajectory) == 0
        moved = np.square(np.diff(z))[whole]
        pairs = context.frames.subset(np.flatnonzero(np.r_[whole, False]))
        finding = Finding()
        finding.add("cv_msd", bcg.analysis.average(moved, pairs, context.settings.draws, context.seed, ""))
        finding.remark("How the CV moves", f"In a time between frames it moves {moved.mean() ** 0.5:.3g} on average.")
        finding.tables["Moves"] = Table(("move", "number"), [("all", str(len(moved)))], hint="of all trajectories")
        finding.figures["moves"] = Drawing(lambda: bcg.plot.loss(context.fit), "Moves of the CV.", "A histogram")
        return finding
'''

EXPERIMENT = """
[experiment]
name = "spring"
[run]
compile = "off"
[system]
name = "Harmonic"
[simulation]
engine = "overdamped"
time = 10.0
chains = 20
dt = 0.01
frame_every = 0.1
equilibration = 0.0
[features]
name = "none"
[model]
name = "PredictiveCV"
latent_dim = 1
hidden = [4]
[fit]
steps = 20
batch_size = 100
uncertainty = "none"
[analysis]
draws = 20
samples = 100
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "cv_moves.py").write_text(FILE)
    monkeypatch.setattr(questions, "__path__", [*questions.__path__, str(tmp_path / "room")])
    monkeypatch.setitem(QUESTIONS, "cv_moves", "MeanSquaredDisplacement")


@pytest.mark.usefixtures("asked")
def test_a_question_is_one_file_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "spring.toml").write_text(EXPERIMENT)
    path = tmp_path / "run"
    summary = run(load(tmp_path / "spring.toml"), path, lambda _: None)
    number = summary["quantities"]["cv_msd"]
    assert number["ci90"][0] < number["mean"] < number["ci90"][1]
    page = (path / "report.html").read_text()
    for part in ("cv_msd", "<h2>How the CV moves</h2>", "<h2>Moves</h2>", 'alt="A histogram"', "Moves of the CV."):
        assert part in page, part
    assert (path / "figures" / "moves.png").exists()
    words = json.loads((path / "findings.json").read_text())
    assert words["tables"]["Moves"]["rows"] == [["all", "1980"]]

    system = bcg.systems.Harmonic()
    frames = bcg.sampling.overdamped(
        system, 1000, dt=0.01, chains=20, stride=10, energy=True, device="cpu", run_dir=path / "trajectories"
    )
    finding = bcg.questions.ask(Fit.load(path / "fit"), frames, "cv_moves", draws=20)
    assert json.loads(json.dumps(finding.summary()))["cv_msd"] == number
    z = Fit.load(path / "fit").cv(frames).mean[:, 0].numpy().reshape(20, 100)
    assert finding.quantities["cv_msd"].mean == pytest.approx(np.square(np.diff(z)).mean(), rel=0.1)


def test_a_question_of_ones_own_needs_no_file_in_the_package(tmp_path: Path) -> None:
    class Count(questions.Question):
        """How many frames there are."""

        class Settings(questions.Section):
            """What they are called."""

            called: str = "frames"

        def applies(self, context: questions.Context) -> bool:
            """Always."""
            return True

        def ask(self, context: questions.Context) -> questions.Finding:
            """In a warning."""
            return questions.Finding(warnings=[f"{len(context.frames)} {context.settings.called}"])

    from bayescg.models import PredictiveCV

    model, frames, _ = PredictiveCV.example()
    fit = bcg.fit(model, frames, steps=3, uncertainty="none", compile="off")
    before = fit.diagnostics["warnings"]
    assert bcg.questions.ask(fit, frames, Count()).warnings == [*before, "64 frames"]
    assert bcg.questions.ask(fit, None, Count()).warnings == [*before, "58 frames"]  # those of the training
    assert bcg.questions.ask(fit, frames, Count(), called="pictures").warnings == [*before, "64 pictures"]
    assert "warning: 64 frames" in repr(bcg.questions.ask(fit, frames, Count()))
