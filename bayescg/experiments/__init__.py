"""Published experiments, one TOML file each, and the runner that turns one into a directory of results.

Names are imported when they are first used, so that the command line lists experiments at once.
"""

from typing import TYPE_CHECKING

from bayescg.lazy import lazily

if TYPE_CHECKING:
    from bayescg.experiments.acquisition.active_loop import active as active
    from bayescg.experiments.calibration import Row as Row
    from bayescg.experiments.catalogue import names as names
    from bayescg.experiments.many.mapping import map as map
    from bayescg.experiments.many.study import study as study
    from bayescg.experiments.runner import report as report
    from bayescg.experiments.runner import resume as resume
    from bayescg.experiments.runner import run as run
    from bayescg.experiments.schema import Experiment as Experiment
    from bayescg.experiments.settings import load as load

__getattr__, __dir__ = lazily(__name__, __file__)
