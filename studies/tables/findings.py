"""What the rows of a study say, for report, screen and page alike."""

from __future__ import annotations

from collections import Counter
from functools import cached_property

import pandas as pd

from ..plan.cells import Plan
from ..plan.study import Study
from .claims import judge
from .files import Tables
from .filters import finished
from .summary import count_answers, summarise


class Findings:
    """Counted answers, conditions and verdicts of a study; each is found when first asked for.

    Args:
        study: The study.
        tables: Its tables.
        results: Rows of ``results``.
    """

    def __init__(self, study: Study, tables: Tables, results: pd.DataFrame) -> None:
        self.study = study
        self.tables = tables
        self.results = results

    @property
    def done(self) -> pd.DataFrame:
        """The rows that have an accuracy."""
        return finished(self.results)

    @property
    def diverged(self) -> pd.DataFrame:
        """The rows of networks whose training has diverged, with the reason."""
        return self.done[self.done["reason"] != ""]

    @cached_property
    def missing_note(self) -> str:
        """How many cells have finished, and which have not; empty if all have."""
        plan = Plan(self.study, has_run=True)
        cells = [c for own in plan.contenders for c in plan.cells_of(own, None)]
        planned = Counter((cell.method, cell.air_label) for cell in cells)
        cells_done = self.done.drop_duplicates("cell")
        missing = planned - Counter(zip(cells_done["method"], cells_done["air"], strict=True))
        if not missing:
            return ""
        references = self.tables.layout.reference_methods
        named = [
            f"{m}{'' if m in references else f' on {a}'} ({n} of {planned[m, a]})"
            for (m, a), n in missing.items()
        ]
        count = len(cells) - missing.total()
        return f"{count} of {len(cells)} cells have finished; missing: {', '.join(named)}"

    @cached_property
    def answered(self) -> pd.DataFrame:
        """Counts of :func:`studies.tables.summary.count_answers`."""
        return count_answers(self.tables, self.done["cell"].unique())

    @cached_property
    def summary(self) -> pd.DataFrame:
        """Each condition over its seeds, see :func:`studies.tables.summary.summarise`."""
        return summarise(self.results, self.answered, self.tables.layout)

    @cached_property
    def verdicts(self) -> pd.DataFrame:
        """Verdicts on the study's claims, see :func:`studies.tables.claims.judge`."""
        return judge(self.tables, self.results, self.study.claims)
