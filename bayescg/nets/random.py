"""Networks whose weights are random variables of a Pyro program."""

from collections.abc import Callable, Mapping

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.transforms import ExpTransform
from torch.func import functional_call

__all__ = ["ard", "fan_in", "gaussian", "log_gamma", "log_prior", "random_net"]

Prior = Callable[[Tensor], dist.TorchDistribution]


def ard(a: float, b: float) -> Prior:
    """Automatic relevance determination: w ~ N(0, 1/tau), tau ~ Gamma(a, b), with the precision tau integrated out.

    The marginal is a Student t with 2a degrees of freedom and scale sqrt(b/a), one precision a weight. With small a
    and b, weights that the data do not need shrink to zero and the others feel almost nothing; with a scale of several
    units it only keeps weights of standardised inputs within bounds, and biases predictions least.

    Parameters
    ----------
    a, b : float
        Shape and rate of the Gamma distribution. The limit a = b -> 0 (1e-5 in the source) is improper.

    References
    ----------
    Schöberl, Zabaras, Koutsourelakis, J. Chem. Phys. 150, 024109 (2019), section II.D.

    Examples
    --------
    >>> import torch
    >>> ard(1.0, 1.0)(torch.zeros(3, 2)).event_shape
    torch.Size([3, 2])
    """
    return lambda p: _event(dist.StudentT(p.new_tensor(2 * a), p.new_tensor(0.0), p.new_tensor((b / a) ** 0.5)), p)


def fan_in(scale: float) -> Prior:
    """Independent N(0, scale^2 / inputs) for the weights of a layer, so that its outputs are of one size at any width.

    Of biases, N(0, scale^2).

    Examples
    --------
    >>> import torch
    >>> fan_in(2.0)(torch.zeros(3, 4)).base_dist.stddev[0, 0]
    tensor(1.)
    """
    return lambda p: gaussian(scale / p.shape[-1] ** 0.5 if p.dim() > 1 else scale)(p)


def gaussian(scale: float | Tensor) -> Prior:
    """Independent N(0, scale^2) for every weight.

    Examples
    --------
    >>> import torch
    >>> gaussian(2.0)(torch.zeros(4)).event_shape
    torch.Size([4])
    """

    def prior(p: Tensor) -> dist.TorchDistribution:
        width = scale if isinstance(scale, Tensor) else p.new_tensor(scale)
        return _event(dist.Normal(p.new_tensor(0.0), width), p)

    return prior


def log_gamma(concentration: float) -> Prior:
    """Logarithms of independent Gamma variates of mean one; divided by their sum, the variates are Dirichlet.

    Examples
    --------
    >>> import torch
    >>> log_gamma(0.5)(torch.zeros(3, 4)).event_shape
    torch.Size([3, 4])
    """

    def prior(p: Tensor) -> dist.TorchDistribution:
        a = p.new_full(p.shape, concentration)
        return dist.TransformedDistribution(dist.Gamma(a, a), [ExpTransform().inv]).to_event(p.dim())

    return prior


def log_prior(module: nn.Module, priors: Mapping[str, Prior]) -> Tensor:
    """Log density of all parameters of a module, whose priors go by the last part of their names.

    Examples
    --------
    >>> log_prior(nn.Linear(2, 3), {"weight": ard(1.0, 1.0), "bias": gaussian(1.0)}).shape
    torch.Size([])
    """
    return torch.stack([priors[k.rpartition(".")[2]](p).log_prob(p) for k, p in module.named_parameters()]).sum()


def random_net(
    model: nn.Module, name: str, priors: Mapping[str, Prior] | Prior, only: tuple[str, ...] = ("",)
) -> Callable[..., Tensor]:
    """Sample every parameter of the submodule `name`, each at a site of its own dotted name, and return the network.

    A site named after a parameter is that parameter made random: what a guide proposes for it starts from the
    module's own value, and `bayescg.fit` supplies the guide.

    Parameters
    ----------
    model : Module
        The model whose program runs.
    name : str
        Attribute of `model` that holds the network.
    priors : mapping or callable
        Takes a parameter and returns a distribution over its shape; or one each for ``"weight"`` and ``"bias"``.
    only : tuple of str
        How the names begin of the parameters that are random.

    Returns
    -------
    callable
        The network with the sampled weights.

    Examples
    --------
    >>> import torch
    >>> m = nn.Module()
    >>> m.net = nn.Linear(2, 3)
    >>> f = random_net(m, "net", {"weight": ard(1.0, 1.0), "bias": gaussian(1.0)})
    >>> f(torch.zeros(5, 2)).shape
    torch.Size([5, 3])
    """
    net = model.get_submodule(name)
    values = {}
    for k, p in net.named_parameters():
        if k.startswith(only):
            prior = priors if callable(priors) else priors[k.rsplit(".", 1)[-1]]
            values[k] = pyro.sample(f"{name}.{k}", prior(p))
    return lambda *inputs: functional_call(net, values, inputs)


def _event(d: dist.TorchDistribution, p: Tensor) -> dist.TorchDistribution:
    return d.expand(p.shape).to_event(p.dim()) if p.dim() else d
