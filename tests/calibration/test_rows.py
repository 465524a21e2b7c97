"""Every row of the calibration table, made anew; and the table in docs is of these rows."""

from pathlib import Path

import pytest

from bayescg.experiments import calibration

ROOT = Path(__file__).parents[2]
ROWS = calibration.rows_of([Path(__file__).parent])
TABLE = ROOT / "docs" / "calibration.md"


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_intervals_hold_the_truth_as_often_as_the_package_says(row: calibration.Row) -> None:
    cells = sum(len(r.truth()) for r, file in ROWS.items() if file == ROWS[row] and r.judged)
    result, _ = calibration.calibrate(row, ROWS[row], cells=cells or None)
    assert not row.verdict(result).startswith("FAILED"), result


def test_the_table_in_the_documents_is_of_these_rows() -> None:
    numbers = calibration.read(TABLE)
    rows = {row.name: row for row in ROWS}
    assert set(numbers) <= set(rows), "rows that are no more: delete them from docs/calibration.json"
    assert TABLE.read_text() == calibration.table(numbers)
    for name, record in numbers.items():
        assert record["about"] == rows[name].about, name
        assert record["repeats"] == 200, name
        assert {r["name"]: r["truth"] for r in record["rows"]} == pytest.approx(rows[name].truth()), name
