"""Functions of positions and momenta, and their weights in closed form: what maps of long time steps are made of."""
