"""Equilibrium averages of molecules by long, converged sampling, with their standard errors: what results are held to.

Each is one small ``.npz`` file beside this one, and ``by_tempering`` makes it anew.
"""

from bayescg.questions.references.sampled import Plane, Reference, load_reference, reference_names

__all__ = ["Plane", "Reference", "load_reference", "reference_names"]
