"""Equilibrium averages of molecules by long, converged sampling, with their standard errors: what results are held to.

Each is one small ``.npz`` file beside this one, and the module of the same name makes it anew.
"""

from bayescg.questions.references.sampled import Reference, load_reference, reference_names

__all__ = ["Reference", "load_reference", "reference_names"]
