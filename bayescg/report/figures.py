"""F."""


def draw_figures(check, landscapes, folder):
    """F."""
    return {}
