import subprocess
import sys

import pytest

from bayescg import systems
from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError
from bayescg.experiments import catalogue
from bayescg.modelling.registry import model_names


def test_the_catalogue_is_what_is_installed() -> None:
    assert list(catalogue.models()) == model_names()
    for name in catalogue.systems():
        assert callable(getattr(systems, name))


@pytest.mark.parametrize("found", [catalogue.experiments(), catalogue.models(), catalogue.systems()])
def test_everything_has_a_line_on_it(found: dict[str, str]) -> None:
    assert found
    assert all(found.values())
    assert not [line for line in found.values() if "\\" in line], "formulas are for the site"


def test_a_word_that_is_near_nothing_suggests_nothing() -> None:
    assert did_you_mean("zzz", ["seed", "steps"]) == ""
    with pytest.raises(ConfigError, match="no experiment 'zzz'; known are"):
        catalogue.find_experiment("zzz")


def test_looking_around_imports_nothing_heavy() -> None:
    code = (
        "import sys; from bayescg.experiments import catalogue as c; c.experiments(); c.models(); c.systems();"
        "print(sorted({'torch', 'openmm', 'mdtraj', 'pyro', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
