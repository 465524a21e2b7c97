"""Whether dynamics by long time steps is to be trusted: energies, equipartition, structure; how long steps may be."""
