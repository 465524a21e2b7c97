"""Whatever comes to a door ends in a right result or in an error in words: `python -m tests.fire` for more of it."""

import pytest

from tests.fire.doors import DOORS
from tests.fire.survey import survey


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_door_stands_a_thousand_inputs(door):
    counts = survey(DOORS[door], 1000)
    assert counts.faults == {}
    assert counts.refused["without words"] == 0
    assert min(counts.results, counts.refused.total()) > 0
