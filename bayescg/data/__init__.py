"""Frames of molecular dynamics: read, checked, split, paired."""

from bayescg.data.bias import Bias
from bayescg.data.conditions import check_temperature
from bayescg.data.correlation import neighbours_resemble, seen_by_blocks, statistical_inefficiency
from bayescg.data.effective import check_effective, effective, effective_frames
from bayescg.data.evenly import evenly
from bayescg.data.frames import Frames, Pairs, Stretches
from bayescg.data.heavy_forces import heavy_force
from bayescg.data.in_parts import in_parts
from bayescg.data.koopman import Koopman
from bayescg.data.mbar import mbar, mbar_draws
from bayescg.data.potential_draws import draw_of
from bayescg.data.readers.loading import from_openmm, load
from bayescg.data.readers.mdanalysis import from_mdanalysis
from bayescg.data.readers.plumed import from_colvar
from bayescg.data.rungs import apart, overlap, round_trips
from bayescg.data.toy_frames import toy_curve, toy_jumps, toy_relaxations, toy_shots, toy_spring, toy_telegraph

__all__ = [
    "Bias",
    "Frames",
    "Koopman",
    "Pairs",
    "Stretches",
    "apart",
    "check_effective",
    "check_temperature",
    "draw_of",
    "effective",
    "effective_frames",
    "evenly",
    "from_colvar",
    "from_mdanalysis",
    "from_openmm",
    "heavy_force",
    "in_parts",
    "load",
    "mbar",
    "mbar_draws",
    "neighbours_resemble",
    "overlap",
    "round_trips",
    "seen_by_blocks",
    "statistical_inefficiency",
    "toy_curve",
    "toy_jumps",
    "toy_relaxations",
    "toy_shots",
    "toy_spring",
    "toy_telegraph",
]
