"""Whatever comes to a door ends in a right result or in an error in words: `python -m tests.fire` for more of it."""

import pytest

from tests.fire.doors import DOORS
from tests.fire.survey import survey

INPUTS = 1250
"""At each of eight doors, with seed 0: ten thousand; at the last, where each goes on with a run, a fifth as many."""


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_a_door_stands_what_comes(door):
    counts = survey(DOORS[door], INPUTS // 5 if door == "run folders" else INPUTS)
    assert counts.faults == {}
    assert counts.refused["without words"] == 0
    assert min(counts.results, counts.refused.total()) > 0
