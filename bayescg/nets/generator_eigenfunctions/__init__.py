"""What :class:`bayescg.models.GeneratorEigenfunctions` is made of."""
