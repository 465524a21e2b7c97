"""Layers as text for Lepton, the parser of formulas that OpenMM and PLUMED share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

__all__ = ["activated", "combination", "expression", "number"]

_ACTIVATIONS = {
    "linear": "{0}",
    "tanh": "tanh({0})",
    "silu": "({0})*(0.5+0.5*tanh(0.5*({0})))",  # x / (1 + exp(-x)), without its overflow
    "softplus": "select(step({0}-20),{0},log(1+exp({0})))",  # torch's, which is x above 20
    "selu": "select(step({0}),1.0507009873554805*({0}),1.7580993408473766*(exp({0})-1))",
}


def number(value: float) -> str:
    """All digits of a number, in brackets where it is negative."""
    text = f"{float(value):.17g}"
    return f"({text})" if text.startswith("-") else text


def activated(activation: str, text: str) -> str:
    """An activation of a formula."""
    return _ACTIVATIONS[activation].format(text)


def combination(weights: Sequence[float], names: Sequence[str], constant: float = 0.0) -> str:
    """A linear combination, in brackets that make its tree flat: Lepton copies trees, and deep ones slowly.

    Examples
    --------
    >>> combination([1.5, 0.0, -2.0], ["a", "b", "c"], 1.0)
    '1.5*a+((-2)*c+1)'
    """
    terms = [f"{number(w)}*{name}" for w, name in zip(weights, names, strict=True) if w != 0]
    return _balanced([*terms, number(constant)] if constant or not terms else terms)


def _balanced(terms: list[str]) -> str:
    if len(terms) == 1:
        return terms[0]
    halves = terms[: len(terms) // 2], terms[len(terms) // 2 :]
    return "+".join(_balanced(half) if len(half) == 1 else f"({_balanced(half)})" for half in halves)


def expression(layers: Sequence[tuple[Tensor, Tensor, str]], inputs: Sequence[str], output: int) -> str:
    """One output of layers ``(weight, bias, activation)`` as a formula with definitions, later ones first.

    Examples
    --------
    >>> import torch
    >>> layers = [(torch.eye(1), torch.zeros(1), "tanh"), (torch.eye(1), torch.ones(1), "linear")]
    >>> expression(layers, ["f1"], 0)
    '1*h1_1+1;h1_1=tanh(s1_1);s1_1=1*f1'
    """
    definitions, names = [], list(inputs)
    for depth, (weight, bias, activation) in enumerate(layers[:-1], 1):
        outputs = [f"{depth}_{j + 1}" for j in range(len(bias))]
        for name, row, constant in zip(outputs, weight.tolist(), bias.tolist(), strict=True):
            definitions.append(f"s{name}={combination(row, names, constant)}")
            definitions.append(f"h{name}={activated(activation, f's{name}')}")
        names = [f"h{name}" for name in outputs]
    weight, bias, _ = layers[-1]
    return ";".join([combination(weight[output].tolist(), names, float(bias[output])), *reversed(definitions)])
