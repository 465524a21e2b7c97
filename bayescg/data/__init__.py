"""Frames of molecular dynamics: read, checked, split, paired."""

from bayescg.data.correlation import statistical_inefficiency
from bayescg.data.frames import Frames
from bayescg.data.pairs import Pairs

__all__ = ["Frames", "Pairs", "statistical_inefficiency"]
