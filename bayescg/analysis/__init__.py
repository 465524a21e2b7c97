"""Questions asked of a fit: does it predict what was seen, and how do free energies look along its CVs."""

from bayescg.analysis.audit import Audit, audit
from bayescg.analysis.chapman_kolmogorov import ChapmanKolmogorov, chapman_kolmogorov, implied_timescales
from bayescg.analysis.committor import committor
from bayescg.analysis.compare import Compared, Comparison, compare
from bayescg.analysis.free_energy import free_energy
from bayescg.analysis.predictive import ObservableCheck, PredictiveCheck, predictive_check
from bayescg.analysis.profile import FreeEnergy
from bayescg.analysis.reaction import Committor
from bayescg.analysis.reweighting import reweighted
from bayescg.analysis.scores import KineticScore, kinetic_scores
from bayescg.analysis.slow_modes import SlowModes
from bayescg.analysis.spectrum import spectrum
from bayescg.analysis.statistics import Quantity

__all__ = [
    "Audit",
    "ChapmanKolmogorov",
    "Committor",
    "Compared",
    "Comparison",
    "FreeEnergy",
    "KineticScore",
    "ObservableCheck",
    "PredictiveCheck",
    "Quantity",
    "SlowModes",
    "audit",
    "chapman_kolmogorov",
    "committor",
    "compare",
    "free_energy",
    "implied_timescales",
    "kinetic_scores",
    "predictive_check",
    "reweighted",
    "spectrum",
]
