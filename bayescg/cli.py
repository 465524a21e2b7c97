"""The command line: ``bayescg list | run | sweep | resume | report | compare | export | check | calibrate``."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

try:
    version("bayescg")
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ImportError as missing:  # also raised where the package itself has no metadata
    raise SystemExit(
        f"bayescg is not installed in {sys.executable} ({missing}). In the checkout, run:\n"
        "    pip install -c constraints.txt -e ."
    ) from None
except KeyboardInterrupt:
    os.write(2, b"stopped by SIGINT before anything was begun. To start, give the same command again.\n")
    raise SystemExit(130) from None

from bayescg.errors import BayescgError, Interrupted, RunError

if TYPE_CHECKING:
    from bayescg.experiments import Experiment

__all__ = ["app", "main"]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bayescg {version('bayescg')}")
        raise typer.Exit


app = typer.Typer(
    name="bayescg",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_screen = Console(soft_wrap=True, highlight=False)

SEED = "Of the simulation, the split of the frames and the training; another one is an independent run."
DEVICE = "auto (a GPU where there is one), cpu or cuda."
SET = "Another value for one setting, such as fit.steps=5000; may be repeated."
ASK = "Another value for a setting of analysis: all is asked anew of the same fit; may be repeated."
QUICK = "Small sizes, to see in seconds that everything works; the numbers mean nothing."
REFITS = "The mean CVs of all refits of an ensemble or bootstrap, or those of the trained values alone."
SCORES = "log_score, forces, commitments, steps, log_z, vamp2, vampe or timescales"
FOLDS = "Train all anew on folds of the frames, and score each where it was not trained; else: on frames held out."
MODES = "Slow modes that count. Default: as many as each has, at most 3; of vamp2 3."
_TABLE = "docs/calibration.md"


class Engine(StrEnum):
    """Engines of molecular dynamics that CVs are written for."""

    plumed = "plumed"
    openmm = "openmm"


Name = Annotated[str, typer.Argument(help="An experiment of `bayescg list`, or a TOML file.", metavar="NAME|FILE.toml")]


@app.callback(
    epilog="Begin with: bayescg run alanine-dipeptide --quick",
)
def _top(
    version_: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Bayesian coarse-graining of molecular dynamics: collective variables and free energies with error bars."""


@app.command("list")
def list_() -> None:
    """Show what is installed: experiments to run, models and systems to build others from."""
    from bayescg.experiments import catalogue

    kinds = {"experiments": catalogue.experiments(), "models": catalogue.models(), "systems": catalogue.systems()}
    width = max(len(name) for entries in kinds.values() for name in entries)
    for title, entries in kinds.items():
        _screen.print(f"[bold]{title}[/bold]")
        for name, summary in entries.items():
            _screen.print(f"  {name:<{width}} {escape(summary)}")


@app.command()
def run(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="Directory of the run. Default: runs/NAME-seedN.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help=SEED)] = None,
    device: Annotated[str | None, typer.Option(help=DEVICE)] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=SET)] = None,
    quick: Annotated[bool, typer.Option("--quick", help=QUICK)] = False,
) -> None:
    """Run an experiment, or go on with the same one where it was interrupted.

    Its directory gets figures, report.html, summary.json, posterior.nc (draws,
    for ArviZ), and config.toml: all settings, a file that can itself be run.
    """
    from bayescg.experiments import load

    experiment = load(name, seed=seed, device=device, quick=quick, changes=set_ or [])
    about = experiment.experiment.name + ("-quick" if quick else "")
    path = out or Path("runs") / f"{about}-seed{experiment.run.seed}"
    title = f"[bold]{escape(experiment.experiment.name)}[/bold], seed {experiment.run.seed}"
    _screen.print(f"{title}, in {escape(str(path))}")
    _announce(experiment)
    from bayescg.experiments.runner import run as run_experiment

    _show(run_experiment(experiment, path, _say), path)


@app.command()
def sweep(
    name: Name,
    seeds: Annotated[str, typer.Option(metavar="A:B", help="From A up to B, without B; or a list: 3,7,11.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=A,B", help="Values of section.key, each run with every seed; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the runs. Default: runs/NAME-sweep.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: tcp://...")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Runs at the same time on this machine.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help=QUICK)] = False,
) -> None:
    """Run an experiment with many seeds and settings, and see whether the seeds agree.

    The same command goes on after an interruption: what is finished is not run again.
    """
    from bayescg.experiments import load
    from bayescg.experiments.many.combinations import grid

    settings = [{**changes, "quick": True} if quick else changes for changes in grid(seeds, set_ or [])]
    experiment = load(name, quick=quick)
    title = experiment.experiment.name
    path = out or Path("runs") / f"{title}{'-quick' if quick else ''}-sweep"
    _screen.print(f"[bold]{escape(title)}[/bold], {len(settings)} runs, in {escape(str(path))}")
    _announce(experiment)
    from bayescg.experiments.many.mapping import map as run_all

    failed = None
    try:
        results = run_all(name, settings, cluster, out=path, workers=workers)
    except RunError as error:
        results, failed = error.results, error
        if all(result is None for result in results):  # what another command left there stays as it is
            raise
    from bayescg.experiments.build import model_class
    from bayescg.experiments.many import sweep as sweeps
    from bayescg.experiments.many.study import study

    failures = failed.failures if failed else []
    for group in sweeps.write(path, title, settings, results, failures):
        _show_group(group, path)
    cite = [*experiment.experiment.cite, model_class(experiment.model.name).citation]
    page = study(settings, results, failures).write(path, title, cite)
    if experiment.data.frames is not None:
        _say("the runs share their frames: seeds differ by training alone, and agree better than by chance")
    _screen.print(f"numbers  {escape(str(path / 'runs.csv'))}, runs.nc, sweep.json")
    _screen.print(f"report   {escape(str(page))}")
    if failed:
        raise failed


@app.command()
def resume(directory: Annotated[Path, typer.Argument(help="Directory of an interrupted run.", metavar="DIR")]) -> None:
    """Go on with an interrupted run; it ends with the numbers of an undisturbed one."""
    from bayescg.experiments.directory import read_experiment

    _announce(read_experiment(directory))
    from bayescg.experiments.runner import resume as resume_run

    _show(resume_run(directory, _say), directory)


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="Directory of a run.", metavar="DIR")],
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="analysis.KEY=VALUE", help=ASK)] = None,
) -> None:
    """Make a run's figures and report.html again, or ask something else of its fit."""
    from bayescg.experiments.directory import read_experiment

    _announce(read_experiment(directory))
    from bayescg.experiments.runner import report as report_run

    page = report_run(directory, _say, set_ or [])
    if set_:
        from bayescg.experiments import summary

        _show(summary.read(directory), directory)
    else:
        _screen.print(f"report  {escape(str(page))}")


@app.command()
def compare(
    directories: Annotated[list[Path], typer.Argument(help="Directories of finished runs.", metavar="DIR...")],
    score: Annotated[str | None, typer.Option(help=f"{SCORES}. Default: the sharpest that all have.")] = None,
    folds: Annotated[int | None, typer.Option(min=3, help=FOLDS)] = None,
    restarts: Annotated[int, typer.Option(min=1, help="Trainings on each fold.")] = 1,
    lag: Annotated[float | None, typer.Option(help="Of vamp2 and vampe.")] = None,
    modes: Annotated[int | None, typer.Option(min=1, help=MODES)] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes for the folds; 0: this one.")] = 0,
    figure: Annotated[Path | None, typer.Option(help="Where to draw the scores: a file .png, .svg or .pdf.")] = None,
) -> None:
    """Say which of several runs' models the frames prefer, and whether they can tell."""
    from matplotlib.backend_bases import FigureCanvasBase

    from bayescg.arguments import check_choice
    from bayescg.experiments.comparing_runs import compare_runs
    from bayescg.questions.alternatives import said_of

    if figure is not None:
        check_choice(**{"the ending of --figure": (figure.suffix.removeprefix("."), FigureCanvasBase.filetypes)})
    result = compare_runs(directories, score, folds, lag=lag, modes=modes, restarts=restarts, workers=workers)
    finding = said_of(result)
    for table in finding.tables.values():
        _table(table.columns, table.rows)
        _screen.print(f"[dim] {escape(table.note)}[/dim]")
    for sentences in finding.remarks.values():
        for line in sentences:
            _screen.print(f" {escape(line)}")
    for warning in finding.warnings:
        _screen.print(f"[yellow]warning: {escape(warning)}[/yellow]")
    if figure is not None:
        finding.figures["comparison"].draw().savefig(figure, dpi=150)
        _screen.print(f"figure  {escape(str(figure))}")


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="Directory of a run.", metavar="DIR")],
    to: Annotated[Engine, typer.Option(help="The engine.")],
    out: Annotated[Path | None, typer.Option(help="The folder. Default: DIR/plumed or DIR/openmm.")] = None,
    refits: Annotated[bool, typer.Option(help=REFITS)] = True,
) -> None:
    """Write the CVs of a finished run for PLUMED, or as forces of OpenMM."""
    from bayescg.experiments.directory import read_experiment

    _announce(read_experiment(directory))
    from bayescg.experiments.exporting import export as export_run

    _screen.print(f"folder  {escape(str(export_run(directory, to.value, out, refits)))}")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A Python file that defines models.", metavar="FILE.py")]) -> None:
    """Test a model file of your own against the contract that every model keeps. Executes the file."""
    from bayescg.contract.conformance import check_model
    from bayescg.contract.model_files import find_file, models_in

    path = find_file(file)
    _screen.print(f"executing {escape(str(path))}")
    passed = True
    for model in models_in(path):
        table = Table("", "check", "detail", title=escape(model.__name__), title_justify="left", box=None)
        for outcome in check_model(model):
            passed &= outcome.ok
            table.add_row(
                "[green]ok[/green]" if outcome.ok else "[red]FAILED[/red]", escape(outcome.name), escape(outcome.detail)
            )
        _screen.print(table)
    if not passed:
        raise typer.Exit(1)


@app.command()
def calibrate(
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="Files with ROWS, or folders. Default: tests/calibration.", metavar="[PATH]"),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="WORD", help="Rows with WORD in their names.")] = None,
    repeats: Annotated[int, typer.Option(min=2, help="Data sets of a row.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the first data set.")] = 0,
    table: Annotated[Path, typer.Option(help="The table; its numbers go to the JSON beside it.")] = Path(_TABLE),
    out: Annotated[Path, typer.Option(help="Where repeats of unfinished rows are kept.")] = Path("runs/calibration"),
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; 0: this one. Default: one a core.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Address of a Dask scheduler: tcp://...")] = None,
) -> None:
    """Count how often intervals hold the truth, row by row, and write the table. Executes the files."""
    from bayescg.experiments import calibration

    rows = calibration.rows_of(files or [Path("tests/calibration")])
    failed = False
    for row, file in calibration.selected(rows, only or []).items():
        cells = sum(len(r.truth()) for r, other in rows.items() if other == file and r.judged)
        unfinished = out / f"{row.name}-{repeats}-{seed}"
        how = {"workers": workers, "cluster": cluster, "out": unfinished}
        result, seconds = calibration.calibrate(row, file, repeats, seed, cells or None, **how)
        calibration.write({row: result}, table)
        shutil.rmtree(unfinished)  # or another version of the package would pass for this one
        _screen.print(f"[bold]{escape(row.name)}[/bold], {seconds:.0f} s: {escape(row.about)}\n{escape(repr(result))}")
        failed |= row.verdict(result).startswith("FAILED")
    _screen.print(f"table  {escape(str(table))}")
    if failed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error that bayescg raises on purpose is one message and exit status 1."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app()
    except BayescgError as error:
        stopped = isinstance(error, Interrupted)
        title = "" if stopped else "[bold red]error:[/bold red] "
        Console(stderr=True, soft_wrap=True, highlight=False).print(title + escape(str(error)))
        sys.exit(128 + error.number if stopped else 1)


def _stop(number: int, _: Any) -> NoReturn:
    """Stop at once; while a run writes files, the runner's own handlers are in force."""
    with suppress(RuntimeError):  # it may have interrupted just this
        _screen.file.flush()
    message = f"stopped by {signal.Signals(number).name}. To start or go on, give the same command again.\n"
    os.write(2, message.encode())
    os._exit(128 + number)  # an exception would be swallowed by some of the imports that it may interrupt


def _announce(experiment: Experiment) -> None:
    file, colon, _ = experiment.model.name.rpartition(":")
    if colon:
        _say(f"executing {file}")


def _say(line: str) -> None:
    style = "yellow" if line.startswith("warning") else "dim"
    _screen.print(f"[{style}]{escape(line)}[/{style}]")


def _show(results: dict[str, Any], path: Path) -> None:
    """The quantities, what is to be known of them, the warnings, and where everything is."""
    from bayescg.experiments.summary import read_words
    from bayescg.report import QUICK_RUN, quantity_table

    words = read_words(path)
    _table(*quantity_table(results["quantities"], words.get("truth_is", "truth")))
    for sentences in words.get("remarks", {}).values():
        for line in sentences:
            _screen.print(f" {escape(line)}")
    for table in words.get("tables", {}).values():
        _screen.print()
        _table(table["columns"][: table["brief"]], [row[: table["brief"]] for row in table["rows"]])
        if table["hint"]:
            _screen.print(f"[dim] {escape(table['hint'])}[/dim]")
    _screen.print()
    if results["diagnostics"].get("quick"):
        _screen.print(f"[yellow]{QUICK_RUN}[/yellow]")
    for warning in results["diagnostics"]["warnings"]:
        _screen.print(f"[yellow]warning: {escape(warning)}[/yellow]")
    for figure in sorted((path / "figures").glob("*.png")):
        _screen.print(f"figure  {escape(str(figure))}")
    _screen.print(f"report  {escape(str(path / 'report.html'))}")


def _show_group(group: dict[str, Any], path: Path) -> None:
    """What one run says of each quantity, on average over the seeds, and whether the seeds agree."""
    from bayescg.experiments.many import sweep as sweeps

    about = ", ".join(f"{key}={value}" for key, value in group["settings"].items())
    count = len(group["seeds"])
    _screen.print(f"\n[bold]{escape(about)}[/bold]  {count} seeds" if about else f"\n{count} seeds")
    if group["quantities"]:
        _table(*sweeps.table(group["quantities"]))
        if count > 1:
            _screen.print("[dim] p: how often seeds lie as far apart by chance, if their error bars are right[/dim]")
            _screen.print("[dim] held: intervals that hold the truth[/dim]")
    for name in sweeps.disagreements(group["quantities"]):
        _screen.print(f"[yellow]warning: seeds disagree about {escape(name)}: its error bars are too narrow[/yellow]")
    if group["warnings"]:
        message = f"{group['warnings']} of {count} runs warn, in report.html of each in {path}; most often"
        _screen.print(f"[yellow]warning: {escape(message)}[/yellow]")
        for line in group["common_warnings"]:
            _screen.print(f"[yellow]  {escape(line)}[/yellow]")


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table as wide as the screen: long names go on below, and no number is cut short."""
    table = Table(*titles, box=None, header_style="bold", pad_edge=False)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.no_wrap = True
        column.justify = "left" if column.header == "unit" else "right"
    others = sum(2 + max(map(len, column)) for column in list(zip(titles, *rows, strict=True))[1:])
    for name, *numbers in rows:
        table.add_row(*map(escape, (_broken(name, _screen.width - others), *numbers)))
    _screen.print(table)


def _broken(name: str, width: int) -> str:
    """A long name in lines that end after an underscore."""
    lines = [""]
    for part in re.findall(r"[^_]*_+|[^_]+", name):
        if lines[-1].strip() and len(lines[-1] + part) > width:
            lines.append("  ")
        lines[-1] += part
    return "\n".join(lines)


if __name__ == "__main__":
    main()
