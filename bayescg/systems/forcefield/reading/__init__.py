"""From an OpenMM System to the tables of its force field."""
