import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from bayescg.report import QUICK_RUN, quantity_table, rows, verdict, write_report

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
            "predictive_check": {
                "psi": {"p_mean": 0.42, "p_sd": 0.998, "bins_in_band": None, "intrinsic_sd": 0.312, "unit": "rad"}
            },
            "warnings": ["phi > 0 <b>rarely</b> seen & noted"],
        },
        "cost": {"energy_evaluations": 0, "steps": 10, "wall_seconds": 1.0, "device": "cpu"},
    }


@pytest.fixture
def page(results: dict[str, Any], tmp_path: Path) -> str:
    (tmp_path / "cv.png").write_bytes(PNG)
    figures = {tmp_path / "cv.png": "CVs of <all> frames"}
    path = write_report(
        tmp_path / "report.html", results, figures, "[fit]\nsteps = 10", "About", ["A paper", "A paper"]
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
    ],
)
def test_numbers_are_told_to_the_digits_of_their_error(given: dict[str, Any], expected: tuple[str, ...]) -> None:
    assert rows({"q": given}) == [("q", *expected, "kT")]


def test_the_page_needs_nothing_but_itself(page: str) -> None:
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script" not in page
    assert "data:image/png;base64," in page


def test_what_a_reader_needs_is_there(page: str) -> None:
    for part in ("1.235", "1.210 to 1.260", "steps = 10", "About", "pareto k", "0.998", "0.31 rad", "scheme: dark"):
        assert part in page
    assert page.count("A paper") == 1


def test_text_is_escaped(page: str) -> None:
    assert "phi &gt; 0 &lt;b&gt;rarely&lt;/b&gt; seen &amp; noted" in page
    assert "CVs of &lt;all&gt; frames" in page


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
    pages = [write_report(tmp_path / f"{i}.html", results, {}, "").read_bytes() for i in range(2)]
    assert pages[0] == pages[1]


@pytest.fixture
def without_frames(results: dict[str, Any]) -> dict[str, Any]:
    found = {
        "weighted_draws": 20_000,
        "ess_fraction": 0.5,
        "pareto_k": 0.31,
        "missing_mass": 0.012,
        "missing_mass_ci90": [0.008, 0.0161],
        "forward_ess_fraction": 1.2e-5,
        "reference": "annealing from a broad base",
        "audit_energy_evaluations": 28_300_000,
        "modes": {"modes": 40, "found": 31, "within_20_percent": 29, "smallest": 0.0, "largest": 1.52},
        "ramachandran": {
            "reference": "long-sampling",
            "kl_generated": 0.231,
            "kl_reweighted": 0.0123,
            "kl_floor_of_reference": 1e-4,
            "kl_exact_draws_generated": 0.0462,
            "kl_exact_draws_reweighted": 0.0021,
            "bins": 64,
            "generated": 10_000,
            "reweighted": 20_000,
            "frames_of_reference": 10**7,
        },
        "warnings": [],
    }
    cost = {"energy_evaluations": 4_523_000, "steps": 10, "wall_seconds": 1.0, "device": "cpu"}
    quantities = {"f": {**quantity(4.81, 0.03, [4.76, 4.86]), "truth": 4.77755}, "g": quantity(1.0, 0.1, [0.8, 1.2])}
    return {**results, "quantities": quantities, "diagnostics": found, "cost": cost}


def test_what_a_run_without_frames_found_is_told(without_frames: dict[str, Any], tmp_path: Path) -> None:
    page = write_report(tmp_path / "report.html", without_frames, {}, "").read_text()
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    for part in (
        "4.810 0.030 4.760 to 4.860 4.778 kT",
        "10,000 count (effective fraction 50 %, Pareto k 0.31)",
        "1.2 % of the probability is left out (90 % interval 0.8 % to 1.61 %)",
        "Modes found: 31 of 40",
        "29 have their probability within 20 %",
        "0.23 of 10,000 draws as generated, where as many exact draws have 0.046",
        "0.012 of 20,000 reweighted, where as many as count have 0.0021",
        "Energies: 4,523,000",
        "the audit took another 28,300,000",
        "energy evaluations 4,523,000",
    ):
        assert part in told, part
    assert "correlated frames" not in told
    assert verdict({**without_frames, "diagnostics": {"warnings": []}}) == []


def test_what_is_known_has_a_column_where_anything_is(without_frames: dict[str, Any], results: dict[str, Any]) -> None:
    assert "truth" not in quantity_table(results)[0]
    titles, table = quantity_table(without_frames)
    assert titles[4] == "reference"  # sampled, where there is a Ramachandran plot to compare with
    assert [row[4] for row in table] == ["4.778", ""]
    exact = {**without_frames, "diagnostics": {}}
    assert quantity_table(exact)[0][4] == "truth"


def test_a_quick_run_is_called_one(results: dict[str, Any], page: str, tmp_path: Path) -> None:
    told = {**results, "diagnostics": {**results["diagnostics"], "quick": True}}
    quick = write_report(tmp_path / "quick.html", told, {}, "").read_text()
    assert QUICK_RUN in quick
    assert quick.index(QUICK_RUN) < quick.index("<h2>")
    assert QUICK_RUN not in page


def test_a_conclusion_is_a_paragraph(results: dict[str, Any], tmp_path: Path) -> None:
    """A cell of the table would be one line of it, cut off at the edge of the page."""
    results["diagnostics"]["conclusion"] = "One is above the other. " * 50
    page = write_report(tmp_path / "concluded.html", results, {}, "").read_text()
    assert page.count("One is above the other.") == 50
    assert re.search(r"<h2>Conclusion</h2>\s*<p>One is above the other\.", page)
