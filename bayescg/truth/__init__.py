r"""Exact answers for low-dimensional systems, and for larger ones that reduce to them, each with its own error.

Dynamics is overdamped, :math:`dx = -\nabla U dt + \sqrt{2 kT} dW` unless another diffusion is given. Energies are in
the unit of the system's kT, free energies in kT.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.truth.exact import Exact as Exact
    from bayescg.truth.exact import GridFunction as GridFunction
    from bayescg.truth.passage import committor as committor
    from bayescg.truth.passage import mean_first_passage_time as mean_first_passage_time
    from bayescg.truth.passage import reaction_rates as reaction_rates
    from bayescg.truth.quadrature import ExactFreeEnergy as ExactFreeEnergy
    from bayescg.truth.quadrature import expectation as expectation
    from bayescg.truth.quadrature import free_energy as free_energy
    from bayescg.truth.quadrature import log_partition as log_partition
    from bayescg.truth.spectra import Spectrum as Spectrum
    from bayescg.truth.spectra import spectrum as spectrum

__getattr__, __dir__ = lazily(__name__, __file__)
