"""Running a study from a command, to what it prints and its exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.text import Text

from tokcom_core.storage import complaint, is_full

from .printing import console

if TYPE_CHECKING:
    from ..plan.study import Study


def run_and_print(study: Study, out: str, address: str | None) -> None:
    """Runs a study; exit code 1 if cells failed, 130 after Ctrl-C.

    Args:
        study: Study to run, or to continue.
        out: Its folder or URI.
        address: Address of a Ray cluster to join, if any.
    """
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
        reasons = reasons_note(failed, findings.tables.layout)
        console.print(Text("some cells failed", "red") + Text(": ") + reasons)
        sys.exit(1)
