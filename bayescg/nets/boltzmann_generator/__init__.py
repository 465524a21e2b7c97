"""What :class:`bayescg.models.BoltzmannGenerator` is made of."""
