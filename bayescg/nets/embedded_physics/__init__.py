"""What :class:`bayescg.models.EmbeddedPhysics` is made of where it generates by a flow."""
