"""Questions asked of a fit: does it predict what was seen, and how do free energies look along its CVs."""

from bayescg.analysis.comparing.compare import compare
from bayescg.analysis.comparing.comparison_table import Compared, Comparison
from bayescg.analysis.comparing.evidence_bounds import Bounds
from bayescg.analysis.comparing.score_choice import score_of
from bayescg.analysis.coverage import Calibrated, Coverage, coverage
from bayescg.analysis.criticism.checklist import checklist
from bayescg.analysis.criticism.checklist_table import Check, Checklist
from bayescg.analysis.criticism.prior_check import prior_check
from bayescg.analysis.cv_information import CVInformation, cv_information
from bayescg.analysis.divergence import jensen_shannon
from bayescg.analysis.experimental.ensemble import Ensemble, Measured
from bayescg.analysis.experimental.maximum_entropy import maximum_entropy
from bayescg.analysis.experimental.posterior_ensemble import experiments
from bayescg.analysis.force_bands import ForceBands, calibrated, force_bands
from bayescg.analysis.free_energy.audit import Audit, audit
from bayescg.analysis.free_energy.estimate import free_energy
from bayescg.analysis.free_energy.multi_ensemble import MultiEnsemble, multi_ensemble
from bayescg.analysis.free_energy.profile import FreeEnergy
from bayescg.analysis.heat_capacity import heat_capacity
from bayescg.analysis.kinetics.chapman_kolmogorov import ChapmanKolmogorov, chapman_kolmogorov, implied_timescales
from bayescg.analysis.kinetics.committor import committor
from bayescg.analysis.kinetics.diffusion_draws import DiffusionDraws, Flatness, effective_dynamics, flat_from
from bayescg.analysis.kinetics.generated_states import GeneratedStates, generated_states
from bayescg.analysis.kinetics.hidden_dynamics import HiddenStates, hidden_states
from bayescg.analysis.kinetics.modes import SlowModes
from bayescg.analysis.kinetics.rates import Rates, rates
from bayescg.analysis.kinetics.reaction import Committor
from bayescg.analysis.kinetics.seeds import Seeds, next_seeds
from bayescg.analysis.kinetics.spectrum import spectrum
from bayescg.analysis.long_steps.integrator_check import IntegratorCheck, integrator_check
from bayescg.analysis.long_steps.radial_distribution import radial_distribution
from bayescg.analysis.long_steps.recommended_step import RecommendedStep, recommended_step
from bayescg.analysis.mixing import Mixing, mixing
from bayescg.analysis.predictive import ObservableCheck, PredictiveCheck, predictive_check
from bayescg.analysis.quantity import Quantity
from bayescg.analysis.reliability import Reliability, commitment_probabilities, reliability
from bayescg.analysis.resampled import average
from bayescg.analysis.simulated_truth import Simulated, simulated_truth
from bayescg.analysis.stein_check import SteinCheck, stein_check, warn_of_forces
from bayescg.inference.reweighting import reweighted

__all__ = [
    "Audit",
    "Bounds",
    "CVInformation",
    "Calibrated",
    "ChapmanKolmogorov",
    "Check",
    "Checklist",
    "Committor",
    "Compared",
    "Comparison",
    "Coverage",
    "DiffusionDraws",
    "Ensemble",
    "Flatness",
    "ForceBands",
    "FreeEnergy",
    "GeneratedStates",
    "HiddenStates",
    "IntegratorCheck",
    "Measured",
    "Mixing",
    "MultiEnsemble",
    "ObservableCheck",
    "PredictiveCheck",
    "Quantity",
    "Rates",
    "RecommendedStep",
    "Reliability",
    "Seeds",
    "Simulated",
    "SlowModes",
    "SteinCheck",
    "audit",
    "average",
    "calibrated",
    "chapman_kolmogorov",
    "checklist",
    "commitment_probabilities",
    "committor",
    "compare",
    "coverage",
    "cv_information",
    "effective_dynamics",
    "experiments",
    "flat_from",
    "force_bands",
    "free_energy",
    "generated_states",
    "heat_capacity",
    "hidden_states",
    "implied_timescales",
    "integrator_check",
    "jensen_shannon",
    "maximum_entropy",
    "mixing",
    "multi_ensemble",
    "next_seeds",
    "predictive_check",
    "prior_check",
    "radial_distribution",
    "rates",
    "recommended_step",
    "reliability",
    "reweighted",
    "score_of",
    "simulated_truth",
    "spectrum",
    "stein_check",
    "warn_of_forces",
]
