"""What :class:`bayescg.models.ForceMatchingPotential` is made of."""
