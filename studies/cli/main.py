"""The ``tokcom`` command."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tokcom_core.storage import complaint, writing

from .airs import air_app

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
study_app = typer.Typer(no_args_is_help=True, help="Plan, run and read studies.")
data_app = typer.Typer(no_args_is_help=True, help="Make and prepare data sets.")
zoo_app = typer.Typer(no_args_is_help=True, help="The pocket checkpoints.")
app.add_typer(study_app, name="study")
app.add_typer(air_app, name="air")
app.add_typer(data_app, name="data")
app.add_typer(zoo_app, name="zoo")

console = Console()

Source = Annotated[str, typer.Argument(help="A preset's name or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="key=value, dotted for inner keys: fine_tuning.steps=100", metavar="KEY=VALUE"
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster that shares the study's folder, if it has one: auto, HOST:6379."
    ),
]
StudyDir = Annotated[str, typer.Argument(metavar="DIR", help="The study's folder or URI.")]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="The study's folder, or a URI: s3://...; studies_out/NAME by default."
    ),
]


_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Runs the command; a user's mistake is one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except _UsageError as error:
        said = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
        if said:  # without arguments the help has been shown
            _fail(f"{said}; see --help")
        sys.exit(2)
    except OSError as error:
        _fail(complaint(error))
    except ValueError as error:
        _fail(str(error))


def _show_version(asked: bool) -> None:
    if asked:
        print(f"tokcom {version('tokcom')}")
        raise typer.Exit


@app.callback()
def options(
    asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Says which one this is."
        ),
    ] = False,
) -> None:
    """Multiuser emulation and resource studies of token communications."""


def _fail(message: str) -> None:
    print(f"tokcom: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@study_app.command("list")
def list_studies() -> None:
    """Lists the studies that come with the package, and the methods they can compare."""
    from ..plan.loading import load, presets
    from ..plan.methods import METHODS

    studies = Table("preset", "methods", "airs", "seeds")
    for name in presets():
        study = load(name)
        studies.add_row(
            name,
            ", ".join(study.methods),
            ", ".join(a.label for a in study.airs),
            str(len(study.seeds)),
        )
    methods = Table("method", "what it is")
    for name, method in METHODS.items():
        methods.add_row(name, method.summary)
    console.print(studies, methods)


@study_app.command()
def plan(source: Source, overrides: Overrides = None) -> None:
    """Shows the cells, the stages they share and the airtime of a question; runs nothing."""
    from ..plan.loading import load
    from .plan_tables import plan_tables

    console.print(*plan_tables(load(source, tuple(overrides or ()))))


@study_app.command()
def run(
    source: Source,
    out: Out = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Runs a study to its tables and pictures; run again, it goes on where it was."""
    from ..plan.loading import load

    study = load(source, tuple(overrides or ()))
    _run(study, out or f"studies_out/{study.name}", address)


@app.command()
def emulate(
    source: Annotated[
        str, typer.Argument(help="A preset's name or a YAML file with 'emulate'.")
    ] = "emulate",
    users: Annotated[int | None, typer.Option(help="How many.")] = None,
    air: Annotated[str | None, typer.Option(help="An air of 'tokcom air list'.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds in which they ask.")] = None,
    rate: Annotated[float | None, typer.Option(help="Questions per second of a user.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="round-robin, proportional-fair or max-sinr.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Let the same users train both stages, too.")
    ] = False,
    out: Out = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Lets many users ask over one air: places, schedulers, faults. Run again, it goes on."""
    from ..plan.loading import load

    given = {
        "emulate.users": users,
        "airs": air,
        "emulate.duration_s": duration,
        "emulate.questions_per_s": rate,
        "emulate.scheduler": scheduler,
        "emulate.trains": train or None,
    }
    own = [f"{key}={value}" for key, value in given.items() if value is not None]
    study = load(source, (*own, *(overrides or ())))
    if study.emulate is None:
        raise ValueError(f"{source} has no key 'emulate'; take the preset 'emulate' or --users")
    _run(study, out or f"studies_out/{study.name}", address)


@study_app.command()
def resume(
    folder: StudyDir,
    retry_failed: Annotated[bool, typer.Option(help="Run the failed cells again.")] = False,
    address: Address = None,
) -> None:
    """Runs the cells of a study that have no result yet."""
    from ..execution.run import forget_failures
    from ..storage.folder import StudyFolder

    study = StudyFolder(folder).open()
    if retry_failed:
        console.print(f"{forget_failures(folder)} failed cells run again")
    _run(study, folder, address)


@study_app.command()
def report(folder: StudyDir) -> None:
    """Draws tables and pictures of what a study has so far."""
    from ..execution.run import finished_table
    from ..figures.report import write_report
    from ..storage.folder import StudyFolder

    table = finished_table(folder)
    with writing(StudyFolder(folder).report):
        write_report(StudyFolder(folder), table)
    _show(folder, table)


def _run(study: object, out: str, address: str | None) -> None:
    from ..execution.run import run_study
    from ..plan.study import Study

    assert isinstance(study, Study)
    try:
        table = run_study(study, out, console, address)
    except OSError as error:
        from ..storage.folder import StudyFolder

        if not StudyFolder(out).begun:
            raise
        message = f"{complaint(error)}; nothing is lost: tokcom study resume {out}"
        print(f"tokcom: stopped: {message}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; nothing is lost: tokcom study resume {out}")
        sys.exit(130)
    _show(out, table)
    if (table["status"] != "ok").any():
        reasons = "; ".join(sorted(set(table.loc[table["status"] != "ok", "reason"])))
        console.print(f"[red]some cells failed[/red]: {reasons}", markup=True)
        sys.exit(1)


def _show(out: str, table: object) -> None:
    import pandas as pd

    from ..storage.folder import StudyFolder
    from ..tables.summary import count_answers, interval_note, summarise
    from .screen import conditions_table

    assert isinstance(table, pd.DataFrame)
    folder = StudyFolder(out)
    summary = summarise(table, count_answers(folder, table["cell"].unique()))
    if not summary.empty:
        screen = console if console.is_terminal else Console(file=console.file, width=1000)
        screen.print(conditions_table(summary))  # a file or pipe has room for all of it
        console.print(
            f"{interval_note(summary)}; audio+vision tokens; channel uses and airtime of a "
            f"question; majority answer per template {table['majority_accuracy'].mean():.3f}"
        )
    for path in (folder.results, folder.answers, folder.curves, *sorted(folder.report.glob("*"))):
        place = f"{folder.store}/{path.relative_to(folder.root)}"
        console.print(place, soft_wrap=True, highlight=False)


@data_app.command()
def minimusic(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    clips: Annotated[int, typer.Option(min=25, help="Clips over all splits.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Also tell what the slid tokens of these clips cover and carry."
        ),
    ] = False,
) -> None:
    """Writes a MiniMUSIC data set: clips as .mp4 with sound, annotations as in MUSIC-AVQA."""
    from rich.progress import Progress

    from tokcom_core.datasets.minimusic.write import write_minimusic

    with Progress(console=console) as progress:
        task = progress.add_task("clips", total=clips)
        write_minimusic(folder, clips, seed, progress=lambda n: progress.advance(task, n))
    console.print(f"{clips} clips in {folder}", highlight=False)
    if report:
        _show_tokens(folder)


def _show_tokens(folder: Path) -> None:
    from transformers.utils.logging import disable_progress_bar

    from tokcom_core.datasets.media import prepare as prepare_media
    from tokcom_core.datasets.minimusic.readout import coverage, readout

    disable_progress_bar()
    prepare_media(folder)
    read = readout(folder)
    shown = Table(
        "tokens",
        "places",
        "appearances",
        "beats",
        *read,
        title="share met (geometry), and share of sources a linear probe reads",
    )
    for i, row in enumerate(coverage()):
        shown.add_row(
            str(row.tokens),
            f"{row.places:.2f}",
            f"{row.appearances:.2f}",
            f"{row.beats:.2f}",
            *(f"{shares[i]:.2f}" for shares in read.values()),
        )
    console.print(shown)


@data_app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set with 'video' folders.")],
    frames: Annotated[
        int, typer.Option(min=1, help="Frames kept of a clip, evenly over it; with --rate at most.")
    ] = 32,
    size: Annotated[
        int, typer.Option(min=1, help="Pixels: a longer side is squashed to it.")
    ] = 224,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Frames a second from the clip's start; the paper's code: 0.6"),
    ] = None,
) -> None:
    """Extracts frames and 16 kHz mono sound from .mp4; what is extracted already is kept."""
    from rich.progress import Progress

    from tokcom_core.datasets import media
    from tokcom_core.datasets.video import Sampling

    sampling = Sampling(frames, size, rate)
    with Progress(console=console) as progress:
        task = progress.add_task("extracting", total=None)
        done = media.prepare(folder, sampling, progress=lambda n: progress.advance(task, n))
    console.print(f"{done.done} clips extracted, {done.kept} kept from before")
    if done.damaged:
        raise ValueError(
            f"{len(done.damaged)} damaged clips were skipped: "
            f"{', '.join(str(d) for d in done.damaged)}; replace or remove them"
        )


@zoo_app.command()
def build(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the checkpoints.")],
    clips: Annotated[int, typer.Option(min=200, help="Clips to pretrain the encoders on.")] = 4000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Pretrains the pocket checkpoints from nothing (about an hour on two cores)."""
    import logging

    from transformers.utils.logging import disable_progress_bar

    from tokcom_core.zoo.build import build_zoo

    disable_progress_bar()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with writing(out):
        build_zoo(out, clips, seed)
    _show_scores(out)


@zoo_app.command()
def show(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder made by 'zoo build'; the shipped zoo by default."),
    ] = None,
) -> None:
    """Says how good the pocket checkpoints are."""
    from tokcom_core.zoo import pocket_folder

    _show_scores(folder or pocket_folder())


def _show_scores(folder: Path) -> None:
    from tokcom_core.zoo.build import read_scores

    shown = Table("checkpoint", "what", "accuracy")
    for kind, scores in read_scores(folder).items():
        for name, accuracy in scores.items():
            shown.add_row(kind, name, f"{accuracy:.3f}")
    console.print(shown)
