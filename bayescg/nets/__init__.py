"""Networks: modules that return tensors or distributions."""

from bayescg.nets.effective_dynamics.cell_grid import CellGrid, enough_cells, mean_squares, span_of
from bayescg.nets.effective_dynamics.propagator import log_propagator, rate_matrix
from bayescg.nets.effective_dynamics.scoring import fisher_scoring
from bayescg.nets.effective_dynamics.smooth_function import SmoothFunction
from bayescg.nets.embedded_physics.angles import AngleReader, Placement, harmonics
from bayescg.nets.force_matching_potential.linear_evidence import LinearEvidence, LinearFit
from bayescg.nets.force_matching_potential.prior_energy import BondedEnergy, HarmonicEnergy, PriorEnergy
from bayescg.nets.force_matching_potential.quadrature_box import QuadratureBox
from bayescg.nets.force_matching_potential.spline_energy import SplineEnergy
from bayescg.nets.gaussian import ConditionalGaussian, exactly
from bayescg.nets.generator_eigenfunctions.diffusion import (
    diffusion_root,
    diffusion_tensor,
    diffusion_value,
    packed,
    packed_diffusion,
    unpacked,
)
from bayescg.nets.generator_eigenfunctions.dirichlet import DirichletForms
from bayescg.nets.generator_eigenfunctions.doubted import doubted_modes
from bayescg.nets.generator_eigenfunctions.ritz import RitzModes
from bayescg.nets.generator_eigenfunctions.tangents import TangentMLP
from bayescg.nets.hidden_markov.chain_search import ChainSearch
from bayescg.nets.hidden_markov.emissions import CellEmissions, GaussianEmissions
from bayescg.nets.hidden_markov.hidden_paths import HiddenPaths, hidden_paths, log_forward
from bayescg.nets.hidden_markov.read_cells import cells_of, check_cells, count_cells
from bayescg.nets.invariant.descriptor_energy import DescriptorEnergy
from bayescg.nets.invariant.energy_and_forces import energy_and_forces, forces_of
from bayescg.nets.invariant.label_sizes import LabelSizes
from bayescg.nets.invariant.particle_energy import ParticleEnergy
from bayescg.nets.invariant.smooth import check_apart, check_smooth, smooth_cutoff
from bayescg.nets.invariant.supplied_energy import SuppliedEnergy
from bayescg.nets.mlp import ACTIVATIONS, MLP, Standardise, lead_along
from bayescg.nets.phase_space.linear_posterior import LinearPosterior
from bayescg.nets.phase_space.midpoint_equations import (
    ActionFunctions,
    midpoint_equations,
    midpoint_metric,
    third_order,
)
from bayescg.nets.phase_space.particle_functions import ParticleFunctions, alike, check_alike
from bayescg.nets.phase_space.random_waves import RandomWaves
from bayescg.nets.phase_space.step_powers import check_order, check_powers, unknown_powers
from bayescg.nets.phase_space.uphill import uphill
from bayescg.nets.phase_space.widening import power_law, widening
from bayescg.nets.predictive_coarse_graining.coarse_potential import CoarsePotential
from bayescg.nets.predictive_cv.flow_decoder import FlowDecoder
from bayescg.nets.random import ard, fan_in, gaussian, log_gamma, log_prior, random_net
from bayescg.nets.reversible_deep_msm.reversible_kernel import (
    evened,
    log_free_joint,
    log_kernel,
    log_occupation,
    log_score,
    transfer_eigenvalues,
)
from bayescg.nets.reversible_deep_msm.soft_states import SoftStates
from bayescg.nets.reversible_deep_msm.state_densities import StateDensities
from bayescg.nets.spline_flow import BOUND, SplineFlow, evening_knots
from bayescg.nets.symmetric import symmetric_matrix, symmetric_places
from bayescg.nets.torsions_first import TorsionsFirst
from bayescg.nets.training_range import TrainingRange
from bayescg.nets.whiten import Whiten

__all__ = [
    "ACTIVATIONS",
    "BOUND",
    "MLP",
    "ActionFunctions",
    "AngleReader",
    "BondedEnergy",
    "CellEmissions",
    "CellGrid",
    "ChainSearch",
    "CoarsePotential",
    "ConditionalGaussian",
    "DescriptorEnergy",
    "DirichletForms",
    "FlowDecoder",
    "GaussianEmissions",
    "HarmonicEnergy",
    "HiddenPaths",
    "LabelSizes",
    "LinearEvidence",
    "LinearFit",
    "LinearPosterior",
    "ParticleEnergy",
    "ParticleFunctions",
    "Placement",
    "PriorEnergy",
    "QuadratureBox",
    "RandomWaves",
    "RitzModes",
    "SmoothFunction",
    "SoftStates",
    "SplineEnergy",
    "SplineFlow",
    "Standardise",
    "StateDensities",
    "SuppliedEnergy",
    "TangentMLP",
    "TorsionsFirst",
    "TrainingRange",
    "Whiten",
    "alike",
    "ard",
    "cells_of",
    "check_alike",
    "check_apart",
    "check_cells",
    "check_order",
    "check_powers",
    "check_smooth",
    "count_cells",
    "diffusion_root",
    "diffusion_tensor",
    "diffusion_value",
    "doubted_modes",
    "energy_and_forces",
    "enough_cells",
    "evened",
    "evening_knots",
    "exactly",
    "fan_in",
    "fisher_scoring",
    "forces_of",
    "gaussian",
    "harmonics",
    "hidden_paths",
    "lead_along",
    "log_forward",
    "log_free_joint",
    "log_gamma",
    "log_kernel",
    "log_occupation",
    "log_prior",
    "log_propagator",
    "log_score",
    "mean_squares",
    "midpoint_equations",
    "midpoint_metric",
    "packed",
    "packed_diffusion",
    "power_law",
    "random_net",
    "rate_matrix",
    "smooth_cutoff",
    "span_of",
    "symmetric_matrix",
    "symmetric_places",
    "third_order",
    "transfer_eigenvalues",
    "unknown_powers",
    "unpacked",
    "uphill",
    "widening",
]
