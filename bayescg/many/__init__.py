"""Many jobs side by side, each of them once: on the cores of this machine, or on a cluster."""
