"""Kinds of run: the stages of each, in order."""
