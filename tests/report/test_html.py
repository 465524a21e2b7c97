import os
import re
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from bayescg.errors import Interrupted
from bayescg.questions import Drawing, Finding, Table
from bayescg.report import QUICK_RUN, quantity_table, rows, save_figures, write_report
from bayescg.stopping import stoppable

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360000002000001e221bc330000"
    "000049454e44ae426082"
)


def quantity(mean: float | None, sd: float | None, ci90: list[float] | None = None, unit: str = "kT") -> dict[str, Any]:
    sources = {"sampling": sd, "parameter": None, "intrinsic": None}
    return {"unit": unit, "mean": mean, "sd": sd, "ci90": ci90, "truth": None, "sd_by_source": sources}


@pytest.fixture
def results() -> dict[str, Any]:
    return {
        "schema": 1,
        "experiment": "alanine-dipeptide",
        "seed": 0,
        "kind": "evidence",
        "versions": {"bayescg": "0.1.0", "python": "3.11"},
        "compiled": "trace",
        "quantities": {"difference": quantity(1.2346, 0.0123, [1.21, 1.26]), "rare": quantity(None, None)},
        "diagnostics": {
            "pareto_k": 0.3,
            "predictive_check": {"psi": {"p_sd": 0.998}},
            "warnings": ["phi > 0 <b>rarely</b> seen & noted"],
        },
        "cost": {"energy_evaluations": 0, "steps": 10, "wall_seconds": 1.0, "device": "cpu"},
    }


@pytest.fixture
def words() -> dict[str, Any]:
    finding = Finding(truth_is="reference", sources="What they are about.", in_words={"predictive_check"})
    finding.remark("How far to trust it", "Of 20,000 <draws> 10,000 count.", "Modes found: 31 of 40.")
    finding.tables["Predictive check"] = Table(("predictive check", "p"), [("psi", "0.998")], note="Frames & more")
    return finding.words()


@pytest.fixture
def page(results: dict[str, Any], words: dict[str, Any], tmp_path: Path) -> str:
    (tmp_path / "cv.png").write_bytes(PNG)
    figures = {tmp_path / "cv.png": ("CVs of <all> frames", "A cloud")}
    path = write_report(
        tmp_path / "report.html", results, words, figures, "[fit]\nsteps = 10", "About", ["A paper", "A paper"]
    )
    return path.read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (quantity(1.23456, 0.0123, [1.2101, 1.2599]), ("1.235", "0.012", "1.210 to 1.260")),
        (quantity(1234.56, 99.6, [1000.4, 1400.6]), ("1235", "100", "1000 to 1401")),
        (quantity(-0.5, 0.5, [-1.3, 0.3]), ("-0.50", "0.50", "-1.30 to 0.30")),
        (quantity(2.0, 0.3), ("2.00", "0.30", "none")),
        (quantity(0.123456, None), ("0.123", "", "none")),
        (quantity(None, None), ("unknown", "", "none")),
        (quantity(1.0, 0.0, [1.0, 1.0]), ("1", "0", "1 to 1")),
        (quantity(0.236123, 0.0), ("0.23612", "", "none")),
        (quantity(1.0, 0.0), ("1.0000", "", "none")),
        (quantity(0.0, 0.0), ("0", "", "none")),
    ],
)
def test_numbers_are_told_to_the_digits_of_their_error(given: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert rows({"q": given}) == [("q", *expected, "kT")]


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert not re.search(r"<script[^>]|import|fetch\(|XMLHttp", page)
    assert "data:image/png;base64," in page


def test_what_a_reader_needs_is_there(page: str) -> None:
    for part in (
        "1.235",
        "1.210 to 1.260",
        "steps = 10",
        "About",
        "pareto k",
        "0.998",
        "What they are about",
        "A cloud",
        "scheme: dark",
    ):
        assert part in page
    assert page.count("A paper") == 1


def test_text_is_escaped(page: str) -> None:
    assert "phi &gt; 0 &lt;b&gt;rarely&lt;/b&gt; seen &amp; noted" in page
    assert "CVs of &lt;all&gt; frames" in page
    assert "Of 20,000 &lt;draws&gt; 10,000 count" in page
    assert "Frames &amp; more" in page


def test_every_tag_is_closed(page: str) -> None:
    class Balance(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "img"):
                self.open.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.open.pop() == tag

    balance = Balance()
    balance.feed(page)
    assert balance.open == []


def test_the_same_results_give_the_same_page(results: dict[str, Any], tmp_path: Path) -> None:
    pages = [write_report(tmp_path / f"{i}.html", results, {}, {}, "").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


def test_what_is_told_in_words_is_in_no_other_table(page: str) -> None:
    assert page.count("0.998") == 1
    assert "predictive check: psi" not in page


def test_what_is_known_has_a_column_where_anything_is(results: dict[str, Any]) -> None:
    assert "truth" not in quantity_table(results["quantities"])[0]
    known = {"f": {**quantity(4.81, 0.03, [4.76, 4.86]), "truth": 4.77755}, "g": quantity(1.0, 0.1, [0.8, 1.2])}
    titles, table = quantity_table(known, "reference")
    assert titles[4] == "reference"
    assert [row[4] for row in table] == ["4.778", ""]
    assert quantity_table(known)[0][4] == "truth"


def test_a_quick_run_is_called_one(results: dict[str, Any], page: str, tmp_path: Path) -> None:
    told = {**results, "diagnostics": {**results["diagnostics"], "quick": True}}
    quick = write_report(tmp_path / "quick.html", told, {}, {}, "").read_text()
    assert QUICK_RUN in quick
    assert quick.index(QUICK_RUN) < quick.index("<h2>")
    assert QUICK_RUN not in page


def test_remarks_stand_under_their_headings(results: dict[str, Any], tmp_path: Path) -> None:
    """A cell of a table would be one line of it, cut off at the edge of the page."""
    words = {"remarks": {"Conclusion": ["One is above the other. " * 50]}}
    page = write_report(tmp_path / "concluded.html", results, words, {}, "").read_text()
    assert page.count("One is above the other.") == 50
    assert re.search(r"<h2>Conclusion</h2>\s*<ul>\s*<li>One is above the other\.", page)


def test_a_figure_that_cannot_be_drawn_is_a_warning(tmp_path: Path) -> None:
    def fails() -> Figure:
        raise np.linalg.LinAlgError("singular")

    drawings = {"bad": Drawing(fails, "None."), "good": Drawing(lambda: Figure((1, 1)), "Nothing.")}
    with pytest.warns(UserWarning, match="the figure bad could not be computed: LinAlgError: singular"):
        saved = save_figures(tmp_path, drawings)
    assert saved == {tmp_path / "good.png": ("Nothing.", "Nothing.")}
    assert [p.name for p in tmp_path.iterdir()] == ["good.png"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_figure_is_drawn(tmp_path: Path, number: signal.Signals) -> None:
    """Where one cuts Python short inside matplotlib's renderer, the process ends in a segmentation fault."""
    drawn: list[str] = []

    def stopped(name: str) -> Figure:
        os.kill(os.getpid(), number)
        drawn.append(name)
        return Figure((1, 1))

    drawings = {name: Drawing(lambda name=name: stopped(name), "None.") for name in ("first", "second")}
    with pytest.raises(Interrupted, match=rf"stopped by {number.name}") as caught, stoppable(lambda: "Go on."):
        save_figures(tmp_path, drawings)
    assert drawn == ["first"]
    assert caught.value.number == number


def test_molecules_are_turned_on_the_page_and_nothing_is_fetched(results: dict[str, Any], tmp_path: Path) -> None:
    def drawing(**more: Any) -> dict[str, Drawing]:
        return {"cv": Drawing(lambda: Figure((1, 1)), "CVs", **more)}

    atom = "ATOM      1  O5'  DA A   1      -3.010   1.870  -0.140  1.00  0.00           O  "
    models = f"MODEL 0\n{atom}\nENDMDL\nEND\n"
    plain = write_report(tmp_path / "plain.html", results, {}, save_figures(tmp_path, drawing()), "").read_text()
    saved = save_figures(tmp_path, drawing(molecules=lambda: models))
    page = write_report(tmp_path / "report.html", results, {}, saved, "").read_text()
    assert (tmp_path / "cv.pdb").read_text() == models
    assert f'<script type="text/plain">{models}</script>' in page  # a prime is no entity
    assert "$3Dmol.createViewer" in page
    assert "Copyright (c) 2014, University of Pittsburgh" in page  # who gets the program gets its licence
    assert "3Dmol" not in plain
    assert not re.search(r'(src|href)="(?!data:)', page)
    save_figures(tmp_path, drawing())
    assert not (tmp_path / "cv.pdb").exists()
