"""Figures of analyses and fits: each function returns a ``matplotlib.figure.Figure`` and leaves no global state.

Save one with ``figure.savefig("name.png")``. Colours are told apart by colour-blind readers (Okabe and Ito; cividis).
"""

from bayescg.plot.backmapped_atoms import backmapped
from bayescg.plot.balls_and_sticks import conformations
from bayescg.plot.coarse_planes import coarse_grained
from bayescg.plot.comparisons import comparison
from bayescg.plot.diffusions import effective_dynamics
from bayescg.plot.eigenmodes import chapman_kolmogorov, committor, eigenfunctions, spectrum, timescales
from bayescg.plot.energies import free_energy
from bayescg.plot.exchange import hidden_states
from bayescg.plot.fits import cv, loss
from bayescg.plot.force_errors import force_errors
from bayescg.plot.foretold import reliability
from bayescg.plot.heat import temperatures
from bayescg.plot.integrators import energy_errors, equipartition, phase_portrait, radial_distribution, vibrations
from bayescg.plot.latent_energies import latent_energies
from bayescg.plot.mean_force import mean_force
from bayescg.plot.measured import measured_averages
from bayescg.plot.predicted import predicted
from bayescg.plot.predictive_checks import predictive_check, ramachandran
from bayescg.plot.rank_functions import ranks
from bayescg.plot.rounds import seeded_rounds
from bayescg.plot.side_by_side import methods, planes
from bayescg.plot.studies_of_runs import study
from bayescg.plot.walks import mixing

__all__ = [
    "backmapped",
    "chapman_kolmogorov",
    "coarse_grained",
    "committor",
    "comparison",
    "conformations",
    "cv",
    "effective_dynamics",
    "eigenfunctions",
    "energy_errors",
    "equipartition",
    "force_errors",
    "free_energy",
    "hidden_states",
    "latent_energies",
    "loss",
    "mean_force",
    "measured_averages",
    "methods",
    "mixing",
    "phase_portrait",
    "planes",
    "predicted",
    "predictive_check",
    "radial_distribution",
    "ramachandran",
    "ranks",
    "reliability",
    "seeded_rounds",
    "spectrum",
    "study",
    "temperatures",
    "timescales",
    "vibrations",
]
