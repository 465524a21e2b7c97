"""From a broad density to a system: sequential Monte Carlo and annealed importance sampling."""
