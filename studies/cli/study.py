"""``tokcom study``: studies planned, run and read."""

from __future__ import annotations

from typing import Annotated

import typer

from tokcom_core.storage import writing

from . import running
from .options import Address, FigureStyle, Out, Overrides, Source, StudyDir
from .printing import console, plain_table, print_table

study_app = typer.Typer(no_args_is_help=True, help="Plan, run and read studies.")


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
    running.run_and_print(study, out or f"studies_out/{study.name}", address)


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
    running.run_and_print(study, folder, address)


@study_app.command()
def report(
    folder: StudyDir,
    style: Annotated[
        FigureStyle | None,
        typer.Option(help="Style of a publication, whose figures are written alone."),
    ] = None,
) -> None:
    """Draws tables, figures and the page of what a study has so far."""
    from ..execution.finished import findings_of
    from .results import print_folders, print_paths, print_results

    printed = None
    if style is not None:
        from ..figures.printed import style_of

        printed = style_of(style)
    findings = findings_of(folder)
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

    differences = compare_methods(folder, first, second, part)
    layout = layout_of(StudyFolder(folder).open())
    print_table(console, differences_table(differences, first, second, layout))
    console.print(starred_note(differences))
