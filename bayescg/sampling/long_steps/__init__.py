"""Time steps far longer than integrators take: pairs to learn them from, and dynamics by what was learned."""
