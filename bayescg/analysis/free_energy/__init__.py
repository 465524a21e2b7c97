"""Free energies from frames and from reweighted draws, and what those draws may miss."""
