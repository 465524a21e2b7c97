"""Questions asked of a fit: does it predict what was seen, and how do free energies look along its CVs."""

from bayescg.analysis.audit import Audit, audit
from bayescg.analysis.free_energy import free_energy
from bayescg.analysis.predictive import ObservableCheck, PredictiveCheck, predictive_check
from bayescg.analysis.profile import FreeEnergy
from bayescg.analysis.reweighting import reweighted
from bayescg.analysis.slow_modes import SlowModes
from bayescg.analysis.spectrum import spectrum
from bayescg.analysis.statistics import Quantity

__all__ = [
    "Audit",
    "FreeEnergy",
    "ObservableCheck",
    "PredictiveCheck",
    "Quantity",
    "SlowModes",
    "audit",
    "free_energy",
    "predictive_check",
    "reweighted",
    "spectrum",
]
