"""``tokcom study`` and ``tokcom emulate``: studies planned, run and read."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from tokcom_core.storage import complaint, is_full, writing

from .printing import plain_console, plain_table, print_table

if TYPE_CHECKING:
    from ..plan.study import Study

study_app = typer.Typer(no_args_is_help=True, help="Plan, run and read studies.")
console = plain_console()

Source = Annotated[str, typer.Argument(help="A preset's name or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="key=value, dotted for inner keys: link.access=tdma",
        metavar="KEY=VALUE",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Address of a Ray cluster to join (auto or HOST:6379); --out must be visible to all "
        "its nodes."
    ),
]
StudyDir = Annotated[str, typer.Argument(metavar="DIR", help="The study's folder or URI.")]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="The study's folder, or a URI: s3://...; studies_out/NAME by default."
    ),
]


@study_app.command("list")
def list_studies() -> None:
    """Lists the studies that come with the package, and the methods they can compare."""
    from tokcom_core.systems import SUMMARIES

    from ..plan.loading import load, presets

    studies = plain_table("preset", "what it is", "methods", "seeds")
    for name in presets():
        study = load(name)
        studies.add_row(
            name,
            study.description,
            ", ".join(method.label for method in study.methods),
            str(len(study.seeds)),
        )
    methods = plain_table("method", "what it is")
    for name, summary in SUMMARIES.items():
        methods.add_row(name, summary)
    for reference in load(presets()[0]).task.references(None):
        methods.add_row(reference.name, f"{reference.summary} (in every study)")
    print_table(console, studies)
    console.print()
    print_table(console, methods)


@study_app.command()
def plan(
    source: Source,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The study's folder, studies_out/NAME by default. What it holds is not counted; "
            "time and disk are estimated from it and from studies beside it.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Shows needs, cells, shared artifacts, airtime, precision, time and disk; runs nothing."""
    from ..plan.loading import load
    from ..plan.modules import modules_of
    from ..storage.folder import StudyFolder
    from .plan_tables import needs, plan_tables

    study = load(source, tuple(overrides or ()))
    if needed := needs(study):
        print_table(console, f"needs: {', '.join(needed)}")
    for shown in plan_tables(study, StudyFolder(out or f"studies_out/{study.name}")):
        print_table(console, shown)
    if modules := modules_of(study):
        print_table(console, f"imports the code of: {', '.join(modules)}")


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


def emulate(
    source: Annotated[
        str, typer.Argument(help="A preset's name or a YAML file with 'emulate'.")
    ] = "emulate",
    users: Annotated[int | None, typer.Option(help="Number of users.")] = None,
    air: Annotated[str | None, typer.Option(help="An air of 'tokcom air list'.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds in which they ask.")] = None,
    rate: Annotated[float | None, typer.Option(help="Questions per second of a user.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="round-robin, proportional-fair or max-sinr.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Let the same users train every phase, too.")
    ] = False,
    out: Out = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Lets many users ask over one air: places, schedulers, faults. Run again, it goes on."""
    from ..plan.loading import load
    from ..plan.overrides import override_by

    given = {
        "--users": ("emulate.users", users),
        "--air": ("airs", air),
        "--duration": ("emulate.duration_s", duration),
        "--rate": ("emulate.questions_per_s", rate),
        "--scheduler": ("emulate.scheduler", scheduler),
        "--train": ("emulate.trains", train or None),
    }
    own = [
        override_by(option, key, value)
        for option, (key, value) in given.items()
        if value is not None
    ]
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
    from ..execution.finished import forget_failures
    from ..storage.folder import StudyFolder

    study = StudyFolder(folder).open()
    if retry_failed:
        console.print(f"{forget_failures(folder)} failed cells run again")
    _run(study, folder, address)


@study_app.command()
def report(
    folder: StudyDir,
    style: Annotated[
        str | None,
        typer.Option(help="Style of a publication, whose figures are written alone: ieee."),
    ] = None,
) -> None:
    """Draws tables, figures and the page of what a study has so far."""
    from ..execution.finished import finished
    from .results import print_folders, print_paths, print_results

    printed = None
    if style is not None:
        from ..figures.printed import style_of

        printed = style_of(style)
    findings = finished(folder)
    if printed is None:
        print_results(console, findings)  # figures may take seconds
    from ..figures.report import write_report

    study_folder = findings.tables.folder
    with writing(study_folder.report):
        written = write_report(findings, printed)
    if printed is None:
        print_folders(console, study_folder)
    else:
        print_paths(console, study_folder, written)


@study_app.command()
def compare(
    folder: StudyDir,
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A method's label.")],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one's.")],
    part: Annotated[
        str | None,
        typer.Option(help="A part of the task, or a group of its questions; all by default."),
    ] = None,
) -> None:
    """Shows by how much FIRST is more accurate than SECOND, paired by seed and question."""
    from .. import compare as compare_methods
    from ..storage.folder import StudyFolder
    from ..tables.layout import layout_of
    from .screen import differences_table, starred_note

    found = compare_methods(folder, first, second, part)
    layout = layout_of(StudyFolder(folder).open())
    print_table(console, differences_table(found, first, second, layout))
    console.print(starred_note(found))


def budget(
    folder: StudyDir,
    bandwidth: Annotated[float, typer.Option(help="Of all users together, in Hz: 5e6.")],
    deadline: Annotated[
        float | None, typer.Option(help="Longest latency of a question, in ms.")
    ] = None,
    snr: Annotated[
        float | None, typer.Option(help="At the receiver, in dB; every evaluated one by default.")
    ] = None,
    users: Annotated[int, typer.Option(help="Users who send at once, on equal shares.")] = 1,
) -> None:
    """Shows which methods and token lengths a link carries, and the accuracy to expect."""
    from .. import budget as affordable
    from ..storage.folder import StudyFolder
    from ..tables.layout import layout_of
    from .screen import budgets_notes, conditions_table, starred_note

    found = affordable(folder, bandwidth, deadline, snr, users)
    study = StudyFolder(folder).open()
    layout = layout_of(study)
    print_table(console, conditions_table(found, layout))
    notes = [
        starred_note(found),
        *budgets_notes(layout),
        "ms on this link, the most accurate first",
    ]
    own = [air.label for air in study.airs if not air.sets_snr]
    if snr is not None and own:
        notes.append(f"without airs whose SNRs are those of a link budget: {', '.join(own)}")
    console.print("; ".join(notes))


def _run(study: Study, out: str, address: str | None) -> None:
    from ..execution.run import run_study
    from ..storage.folder import StudyFolder
    from .results import print_folders, print_results
    from .screen import reasons_note

    try:
        findings = run_study(study, out, console, address)
    except OSError as error:
        if not StudyFolder(out).begun:
            raise
        message = f"{complaint(error)}; nothing is lost: tokcom study resume {out}"
        print(f"tokcom: stopped: {message}", file=sys.stderr)
        sys.exit(1 if is_full(error) else 2)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; nothing is lost: tokcom study resume {out}")
        sys.exit(130)
    print_results(console, findings)
    print_folders(console, findings.tables.folder)
    failed = findings.results[findings.results["status"] == "failed"]
    if len(failed):
        told = reasons_note(failed, findings.tables.layout)
        console.print(Text("some cells failed", "red") + Text(": ") + told)
        sys.exit(1)
