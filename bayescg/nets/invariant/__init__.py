"""Energies of particles that no rotation, translation or exchange of like particles changes."""
