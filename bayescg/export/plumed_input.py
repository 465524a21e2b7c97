"""Input of PLUMED: CVs as actions that every PLUMED with the module `annfunc` has, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from bayescg.export.cv_network import CVNetwork
from bayescg.export.elementary import Term
from bayescg.export.lepton import activated, number

__all__ = ["plumed_input"]


def plumed_input(
    network: CVNetwork, features: Sequence[Sequence[Term]], names: Sequence[str], numbers: Sequence[int]
) -> str:
    """Actions from positions to the outputs of a network, whose labels are ``z1``, ..., ``sd1``, ....

    Torsions and distances are actions of their names, functions of them CUSTOM, the network is an ANN where its
    activations are tanh, and a COMBINE and a CUSTOM for each neuron otherwise. Numbers have all their digits.

    Parameters
    ----------
    network : CVNetwork
    features : sequence of sequence of Term
        Each feature, the mean of its terms (`elementary`).
    names : sequence of str
        Of the features, for comments.
    numbers : sequence of int
        The number, from 0, of each atom in the simulation; PLUMED counts from 1.
    """
    lines = ["UNITS LENGTH=nm ENERGY=kj/mol"]
    if any(len(term.atoms) == 2 and not term.periodic for feature in features for term in feature):
        lines.append(_folded(f"WHOLEMOLECULES ENTITY0={','.join(str(i + 1) for i in numbers)}"))
    inputs, actions = _features(features, names, numbers)
    lines += [*actions, ""]
    refits = []
    for refit in range(network.refits):
        layers = [(w[refit], b[refit], a) for w, b, a in network.layers]
        outputs, actions = _refit(layers, inputs, f"net{refit + 1}")
        refits.append(outputs)
        lines += actions
    return "\n".join([*lines, "", *_outputs(network, refits), ""])


def _features(
    features: Sequence[Sequence[Term]], names: Sequence[str], numbers: Sequence[int]
) -> tuple[list[str], list[str]]:
    """Labels of the features, and the actions behind them; what several read is computed once."""
    measured: dict[tuple[tuple[int, ...], bool], str] = {}
    labels, lines = [], []
    for i, (feature, name) in enumerate(zip(features, names, strict=True), 1):
        lines.append(f"# f{i}: {name}")
        parts = []
        for j, term in enumerate(feature, 1):
            if (term.atoms, term.periodic) not in measured:
                kind, letter = ("TORSION", "t") if len(term.atoms) == 4 else ("DISTANCE", "d")
                label = f"{letter}{len(measured) + 1}"
                atoms = ",".join(str(numbers[a] + 1) for a in term.atoms)
                whole = " NOPBC" if kind == "DISTANCE" and not term.periodic else ""
                lines.append(f"{label}: {kind} ATOMS={atoms}{whole}")
                measured[term.atoms, term.periodic] = label
            source = measured[term.atoms, term.periodic]
            if term.function != "x":
                label = f"f{i}" if len(feature) == 1 else f"f{i}_{j}"
                lines.append(f"{label}: CUSTOM ARG={source} FUNC={term.text} PERIODIC=NO")
                source = label
            parts.append(source)
        labels.append(parts[0] if len(parts) == 1 else f"f{i}")
        if len(parts) > 1:
            lines.append(_sum(f"f{i}", parts, [1 / len(parts)] * len(parts)))
    return labels, lines


def _refit(
    layers: Sequence[tuple[Tensor, Tensor, str]], inputs: Sequence[str], name: str
) -> tuple[list[str], list[str]]:
    """Labels of the outputs of one network, and its actions."""
    if {activation for *_, activation in layers} <= {"tanh", "linear"}:
        words = [
            f"ARG={','.join(inputs)}",
            f"NUM_LAYERS={len(layers) + 1}",
            f"NUM_NODES={','.join(map(str, [len(inputs), *(len(bias) for _, bias, _ in layers)]))}",
            f"ACTIVATIONS={','.join(activation.capitalize() for *_, activation in layers)}",
        ]
        for i, (weight, bias, _) in enumerate(layers):
            words += [f"WEIGHTS{i}={_listed(weight)}", f"BIASES{i}={_listed(bias)}"]
        outputs = [f"{name}.node-{j}" for j in range(len(layers[-1][1]))]
        return outputs, [_folded(f"{name}: ANN {' '.join(words)}")]
    lines, labels = [], list(inputs)
    for depth, (weight, bias, activation) in enumerate(layers, 1):
        neurons = [f"{name}_h{depth}_{j + 1}" for j in range(len(bias))]
        for neuron, row, constant in zip(neurons, weight.tolist(), bias.tolist(), strict=True):
            lines.append(_sum(f"{neuron}s", labels, row))
            text = activated(activation, f"(x+{number(constant)})")
            lines.append(f"{neuron}: CUSTOM ARG={neuron}s FUNC={text} PERIODIC=NO")
        labels = neurons
    return labels, lines


def _outputs(network: CVNetwork, refits: Sequence[Sequence[str]]) -> Iterator[str]:
    """Mean and standard deviation of the mixture of the refits, as in `CVNetwork`."""
    count, size = network.refits, network.latent_dim
    for a in range(size):
        yield _sum(f"z{a + 1}", [labels[a] for labels in refits], [1 / count] * count)
    if len(network.outputs) == size:
        return
    if count == 1:
        for a in range(size):
            yield f"sd{a + 1}: CUSTOM ARG={refits[0][size + a]} FUNC=exp(8*tanh(x/8)) PERIODIC=NO"
        return
    if network.gaussian:
        for m, labels in enumerate(refits, 1):
            for d in range(size):
                yield f"net{m}_v{d + 1}: CUSTOM ARG={labels[size + d]} FUNC=exp(16*tanh(x/8)) PERIODIC=NO"
    for a in range(size):
        parts, shares = [], []
        for m, labels in enumerate(refits, 1):
            parts.append(f"net{m}_e{a + 1}")
            shares.append(1 / count)
            yield f"{parts[-1]}: CUSTOM ARG={labels[a]},z{a + 1} FUNC=(x-y)^2 PERIODIC=NO"
            if network.gaussian:
                parts += [f"net{m}_v{d + 1}" for d in range(size)]
                shares += (network.gauge[m - 1, :, a].square() / count).tolist()
        yield _sum(f"var{a + 1}", parts, shares)
        yield f"sd{a + 1}: CUSTOM ARG=var{a + 1} FUNC=sqrt(x) PERIODIC=NO"


def _sum(label: str, parts: Sequence[str], factors: Sequence[float]) -> str:
    coefficients = ",".join(f"{factor:.17g}" for factor in factors)
    return _folded(f"{label}: COMBINE ARG={','.join(parts)} COEFFICIENTS={coefficients} PERIODIC=NO")


def _listed(values: Tensor) -> str:
    return ",".join(f"{value:.17g}" for value in values.flatten().tolist())


def _folded(action: str) -> str:
    """One action on several lines, a word each, where it is long."""
    if len(action) <= 120:
        return action
    head, *words = action.replace(": ", ":\0").split(" ")
    return "\n".join([f"{head} ...".replace("\0", " "), *(f"  {word}" for word in words), "..."])
