"""From forces on atoms to forces on the beads of a coarse-grained model."""
