"""What :class:`bayescg.models.ReversibleDeepMSM` is made of."""
