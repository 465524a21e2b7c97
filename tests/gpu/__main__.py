"""Everything that a GPU is to show, in one command: ``python -m tests.gpu``, at most about 8 minutes on one card.

Every model is fitted on the card with each uncertainty, plainly, recorded and compiled, and held against the processor
on the same random numbers; so are samplers and the force field; training steps and forces are timed. One table and one
file of JSON come out; the exit status is 1 where a line failed. Without a card it says so, and every line is skipped.

``--device cpu`` runs all of it on the processor, small. ``--fake`` needs no card, with any build of torch: the device
is emulated, and refuses every tensor that was left on the processor.
"""

import argparse
import json
import os
import platform
import sys
import time
from dataclasses import asdict
from pathlib import Path

import torch

import bayescg as bcg
from bayescg.modelling import model_names
from tests.gpu import answers, fits, physics, speed
from tests.gpu.lines import Line, tables
from tests.gpu.tasks import of_model, on_device

SECTIONS = ("fits", "answers", "physics", "forces", "steps")


def main() -> int:
    """Run what was chosen; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--fake", action="store_true", help="on an emulated device: fits, answers and physics")
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--models", nargs="+", choices=model_names(), default=[])
    parser.add_argument("--modes", nargs="+", choices=list(fits.MODES), default=list(fits.MODES))
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing new is begun")
    parser.add_argument("--workers", type=int, help="processes that fit, side by side; 0: this one")
    parser.add_argument("--json", type=Path, default=Path("gpu.json"), help="where to write all lines")
    options = parser.parse_args()
    options.modes = tuple(m for m in options.modes if not (options.fake and m == "inductor"))
    options.sections = [s for s in options.sections if not (options.fake and s in ("forces", "steps"))]
    began = time.time()
    lines, what = _planned(options), _machine(options)
    if options.device == "cuda" and not options.fake and not torch.cuda.is_available():
        what += ": torch sees no CUDA device here, so every line is skipped"
        for line in lines:
            line.words = "there is no card"
    else:
        print(
            f"{what}: the tables come at the end, after {options.minutes:g} minutes at most",
            file=sys.stderr,
            flush=True,
        )
        lines = _run(options, began + 60 * options.minutes)
    options.json.write_text(json.dumps({"machine": what, "lines": [asdict(line) for line in lines]}, indent=1))
    print(f"{what}\n\n{tables(lines)}\n\n{time.time() - began:.0f} s; all lines are in {options.json}")
    return int(any(line.status == "failed" for line in lines))


def _planned(options: argparse.Namespace) -> list[Line]:
    models = tuple(options.models)
    plans = {
        "fits": lambda: fits.planned(models, options.modes),
        "answers": lambda: answers.planned(models),
        "physics": physics.planned,
        "forces": lambda: speed.planned_forces(options.device),
        "steps": lambda: speed.planned_steps(options.device),
    }
    return [line for section in options.sections for line in plans[section]()]


def _run(options: argparse.Namespace, until: float) -> list[Line]:
    lines, sections = list[Line](), options.sections
    names = [n for n in model_names() if n in options.models or not options.models]
    workers = max(1, min(8, (os.cpu_count() or 1) // 2)) if options.workers is None else options.workers
    if "physics" in sections:
        lines += on_device(options.fake, physics.physics, options.device)
    if "forces" in sections:
        lines += speed.force_rates(options.device)
    each = [(s, n) for s in ("fits", "answers") if s in sections for n in names]
    tasks = [{"section": s, "name": n, "device": options.device, "fake": options.fake} for s, n in each]
    more = {"modes": options.modes, "until": until}
    for of_task in bcg.experiments.map(of_model, [{**t, **more} for t in tasks], workers=workers):
        lines += of_task
    return lines + (speed.step_times(options.device, until) if "steps" in sections else [])


def _machine(options: argparse.Namespace) -> str:
    device = platform.processor() or platform.machine()
    if options.fake:
        device = "an emulated device"
    elif options.device == "cuda" and torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    return f"{device}, {os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"


if __name__ == "__main__":
    sys.exit(main())
