"""What the effective dynamics of a collective variable is made of."""
