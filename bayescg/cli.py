"""The command line: ``bayescg list | run | resume | report | check``."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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

from bayescg.errors import BayescgError, Interrupted

if TYPE_CHECKING:
    from bayescg.experiments import Experiment

__all__ = ["app", "main"]

app = typer.Typer(
    name="bayescg",
    help="Bayesian coarse-graining of molecular dynamics.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_screen = Console(soft_wrap=True, highlight=False)


@app.command("list")
def list_() -> None:
    """Show the experiments, models and systems that are installed."""
    from bayescg.experiments import catalogue

    for title, found in (
        ("experiments", catalogue.experiments()),
        ("models", catalogue.models()),
        ("systems", catalogue.systems()),
    ):
        _screen.print(f"[bold]{title}[/bold]")
        for name, summary in found.items():
            _screen.print(f"  {name:<22} {escape(summary)}")


@app.command()
def run(
    name: Annotated[
        str, typer.Argument(help="An experiment of `bayescg list`, or a TOML file.", metavar="NAME|FILE.toml")
    ],
    out: Annotated[Path | None, typer.Option(help="Directory of the run. Default: runs/NAME-seedN.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of everything random.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change section.key; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Everything small, in seconds.")] = False,
) -> None:
    """Run an experiment, or go on with the same one where it was interrupted."""
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
def resume(directory: Annotated[Path, typer.Argument(help="Directory of an interrupted run.", metavar="DIR")]) -> None:
    """Go on with an interrupted run; it ends with the numbers of an undisturbed one."""
    from bayescg.experiments.directory import read_experiment

    _announce(read_experiment(directory))
    from bayescg.experiments.runner import resume as resume_run

    _show(resume_run(directory, _say), directory)


@app.command()
def report(directory: Annotated[Path, typer.Argument(help="Directory of a finished run.", metavar="DIR")]) -> None:
    """Make a run's figures and report.html again."""
    from bayescg.experiments.directory import read_experiment

    _announce(read_experiment(directory))
    from bayescg.experiments.runner import report as report_run

    _screen.print(f"report  {escape(str(report_run(directory, _say)))}")


@app.command()
def check(file: Annotated[Path, typer.Argument(help="A Python file that defines models.", metavar="FILE.py")]) -> None:
    """Test a model file of your own against the contract that every model keeps. Executes the file."""
    _screen.print(f"executing {escape(str(file))}")
    from bayescg.inference.contract import check_model, models_in

    passed = True
    for model in models_in(file):
        table = Table("", "check", "detail", title=escape(model.__name__), title_justify="left", box=None)
        for one in check_model(model):
            passed &= one.ok
            table.add_row("[green]ok[/green]" if one.ok else "[red]FAILED[/red]", escape(one.name), escape(one.detail))
        _screen.print(table)
    if not passed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error that bayescg raises on purpose is one message and exit status 1."""
    try:
        app()
    except BayescgError as error:
        stopped = isinstance(error, Interrupted)
        title = "" if stopped else "[bold red]error:[/bold red] "
        Console(stderr=True, soft_wrap=True, highlight=False).print(title + escape(str(error)))
        sys.exit(128 + error.number if stopped else 1)


def _announce(experiment: Experiment) -> None:
    file, colon, _ = experiment.model.name.rpartition(":")
    if colon:
        _say(f"executing {file}")


def _say(line: str) -> None:
    style = "yellow" if line.startswith("warning") else "dim"
    _screen.print(f"[{style}]{escape(line)}[/{style}]")


def _show(results: dict[str, Any], path: Path) -> None:
    """The table of quantities, the warnings, and where everything is."""
    from bayescg.report import rows

    table = Table("quantity", "mean", "sd", "90 % interval", "unit", box=None, header_style="bold")
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:  # a number that was cut short would be another number
        column.no_wrap = True
    for column in table.columns[1:4]:
        column.justify = "right"
    for row in rows(results["quantities"]):
        table.add_row(*map(escape, row))
    _screen.print(table)
    for warning in results["diagnostics"]["warnings"]:
        _screen.print(f"[yellow]warning: {escape(warning)}[/yellow]")
    for figure in sorted((path / "figures").glob("*.png")):
        _screen.print(f"figure  {escape(str(figure))}")
    _screen.print(f"report  {escape(str(path / 'report.html'))}")


if __name__ == "__main__":
    main()
