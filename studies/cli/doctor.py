"""``tokcom doctor``: what is there, what is missing, and how to fix it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from tokcom_core.errors import first_line

from .options import Overrides
from .printing import console, plain_table, print_table

if TYPE_CHECKING:
    from ..doctor.findings import Finding
    from ..plan.study import Study


def doctor(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY", help="A preset's name or a YAML file: looks at its needs as well."
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Shows what is there, what is missing, what that costs and how to fix it.

    Exit code 1 if the package, or the study, cannot work with what is there.
    """
    if overrides and source is None:
        raise ValueError("--set changes a study; name one: tokcom doctor STUDY --set KEY=VALUE")
    findings = _findings(source, tuple(overrides or ()))
    print_table(console, _table(findings))
    console.print(_verdict(findings), highlight=False)
    if any(finding.fails for finding in findings):
        sys.exit(1)


def _findings(source: str | None, overrides: tuple[str, ...]) -> list[Finding]:
    from ..doctor.findings import Finding
    from ..doctor.installation import optional_findings, package_findings
    from ..doctor.machine import machine_findings

    findings = package_findings()
    try:
        findings += optional_findings()
        study = None if source is None else _load(source, overrides)
        findings += machine_findings(1.0 if study is None else study.resources.cpu)
        if study is not None:
            from ..doctor.needs import study_findings

            findings += study_findings(study)
    except ImportError as error:
        lost = "all else cannot be looked at"
        findings.append(Finding("all else", first_line(error), lost, "the packages above", True))
    return findings


def _load(source: str, overrides: tuple[str, ...]) -> Study:
    from ..plan.loading import load

    return load(source, overrides)


def _table(findings: Sequence[Finding]) -> Table:
    shown = plain_table("", "what", "here", "what it costs", "how to fix it")
    for finding in findings:
        mark = Text("missing", "red") if finding.fails else Text("optional", "yellow")
        cells = (finding.subject, finding.found, finding.cost, finding.remedy)
        shown.add_row(mark if finding.cost else Text("ok", "green"), *cells)
    return shown


def _verdict(findings: Sequence[Finding]) -> str:
    missing = sum(finding.fails for finding in findings)
    optional = sum(bool(finding.cost) for finding in findings) - missing
    return f"needed and missing: {missing}; optional and missing: {optional}"
