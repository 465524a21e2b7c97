"""Figures say what they are of where they are given something else, a fit above all."""

import inspect
import operator
import re
from collections.abc import Callable
from typing import Any

import pytest

import bayescg as bcg
from bayescg.errors import ConfigError
from bayescg.models import Autoencoder

FIGURES = {name: getattr(bcg.plot, name) for name in bcg.plot.__all__}
BY_NAME = ("force_errors", "methods", "planes", "temperatures")
OF_ONE = {  # figures whose first argument is what a function of the package returns
    name: figure for name, figure in FIGURES.items() if hasattr(figure, "__wrapped__") and name not in BY_NAME
}


@pytest.fixture(scope="module")
def fit() -> bcg.Fit:
    model, frames, _ = Autoencoder.example()
    return bcg.fit(model, frames, steps=2, uncertainty="none", compile="off")


@pytest.mark.parametrize("figure", OF_ONE.values(), ids=OF_ONE)
def test_another_subject_is_refused_in_words(figure: Callable[..., Any], fit: bcg.Fit) -> None:
    subject = None if "Fit" in str(inspect.signature(figure)) else fit
    name = next(iter(inspect.signature(figure).parameters))
    others = len([p for p in inspect.signature(figure).parameters.values() if p.default is p.empty]) - 1
    with pytest.raises(ConfigError) as caught:
        figure(subject, *[None] * others)
    words = (
        rf"bayescg\.plot\.{figure.__name__} draws what bayescg\.([.\w]+) returns \((\w+)\)"
        r"(?:, in a dictionary by name)?; "
        rf"{name} is of type {type(subject).__name__}"
    )
    named = re.fullmatch(words, str(caught.value))
    assert named is not None
    maker, wanted = named.groups()
    answer = inspect.signature(operator.attrgetter(maker)(bcg)).return_annotation
    assert re.search(rf"\b{wanted}\b", str(answer)), maker


def test_figures_of_one_answer_ask_for_it() -> None:
    assert {"comparison", "cv", "free_energy", "loss", "mixing", "predictive_check", "spectrum"} <= set(OF_ONE)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_fit_in_place_of_a_dictionary_is_refused_in_words(name: str, fit: bcg.Fit) -> None:
    figure = FIGURES[name]
    others = len([p for p in inspect.signature(figure).parameters.values() if p.default is p.empty]) - 1
    for subject, words in ((fit, "is of type Fit"), ({}, "is empty")):
        with pytest.raises(ConfigError, match=rf"bayescg.plot.{name} draws a dictionary of .*; \w+ {words}"):
            figure(subject, *[None] * others)


def test_a_name_without_a_temperature_is_refused_in_words() -> None:
    with pytest.raises(ConfigError, match="'alpha' has no temperature at its end"):
        bcg.plot.temperatures({"alpha": None})  # type: ignore[dict-item]
