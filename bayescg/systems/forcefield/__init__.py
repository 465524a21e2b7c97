"""A batched, differentiable force field: a non-periodic OpenMM System of the usual forces as a torch function."""

from bayescg.systems.forcefield.field import ForceField

__all__ = ["ForceField"]
