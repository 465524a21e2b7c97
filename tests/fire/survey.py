"""Inputs by the thousand at one door: right results, errors in words, and whatever is neither."""

import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from bayescg.errors import BayescgError

__all__ = ["Door", "Survey", "survey"]

Door = Callable[[Callable], object]
"""From Hypothesis's `draw` to a result that it has checked itself; what it should refuse ends in an error."""


@dataclass
class Survey:
    """How a door took its inputs."""

    results: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    faults: dict[str, str] = field(default_factory=dict)
    """One traceback for each place in bayescg from which something else came."""

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.results + self.refused.total()


def survey(door: Door, inputs: int, start: int = 0) -> Survey:
    """Knock `inputs` times, the same ones for one `start`."""
    counts = Survey()

    @seed(start)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(st.data())
    def knock(data: st.DataObject) -> None:
        steps: list[object] = []

        def draw(strategy: st.SearchStrategy) -> object:
            steps.append(data.draw(strategy))
            return steps[-1]

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                door(draw)
            counts.results += 1
        except BayescgError as error:
            counts.refused[type(error).__name__ if str(error) else "without words"] += 1
        except Exception as error:
            frames = [
                f
                for f in traceback.extract_tb(error.__traceback__)
                if "/bayescg/" in f.filename or "/models/" in f.filename
            ]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "outside"
            counts.refused["something else"] += 1
            counts.faults.setdefault(f"{type(error).__name__} at {place}", f"{steps}\n{traceback.format_exc()}")

    knock()
    return counts
