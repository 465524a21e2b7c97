"""Molecular dynamics by OpenMM, a process for each trajectory."""
