"""What ``tokcom study plan`` prints: cells, shared stages, and the airtime of a question."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Table

from ..plan.budgets import interval_ms
from ..plan.cells import Plan
from ..plan.specs import Cell
from ..plan.study import Study


def plan_tables(study: Study) -> list[Table]:
    """Tables of the cells, of the stages they share, and of the budgets."""
    plan = Plan(study)
    rates = study.fine_tuning.learning_rates
    cells = plan.cells(dict.fromkeys(plan.methods, rates[0]))
    return [_cells(cells), _stages(plan, cells), _budgets(plan)]


def _cells(cells: Sequence[Cell]) -> Table:
    """One line for the cells that differ in their seed alone."""
    shown = Table(
        "method", "air", "trained at (dB)", "MHz", "tokens", "seeds",
        title=f"{len(cells)} cells", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    conditions = Counter(
        (
            cell.tuning.method,
            cell.tuning.air.label,
            f"{cell.nominal_snr_db:g}",
            f"{cell.bandwidth_hz / 1e6:g}",
            "text" if (t := cell.tuning.tokens) is None else f"{t.audio}+{t.vision}",
        )
        for cell in cells
    )
    for condition, seeds in conditions.items():
        shown.add_row(*condition, str(seeds))
    return shown


def _stages(plan: Plan, cells: Sequence[Cell]) -> Table:
    tunings = [cell.tuning for cell in cells]
    alignments = [t.alignment for t in tunings if t.alignment is not None]
    tried = [spec for specs in plan.candidates().values() for spec in specs]
    shown = Table("stage", "wanted by", "runs", title="shared stages", box=box.SIMPLE_HEAD)
    shown.add_row("frozen tokens", f"{len(cells)} cells", str(len(plan.features())))
    if tried:
        shown.add_row("learning rates", f"{len(plan.candidates())} methods", str(len(tried)))
    shown.add_row("alignment", f"{len(alignments)} cells", str(len({a.key for a in alignments})))
    shown.add_row("fine-tuning", f"{len(cells)} cells", str(len({t.key for t in tunings})))
    shown.add_row("evaluation", f"{sum(len(c.eval_snr_db) for c in cells)} rows", str(len(cells)))
    return shown


def _budgets(plan: Plan) -> Table:
    """Airtime at the longest question: what the budget must hold."""
    study, width = plan.study, plan.shapes.token_width
    shown = Table(
        "MHz", "audio", "vision", "question", "symbols", "airtime (ms)", "deadline (ms)",
        title="airtime of one question, at its longest", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for (_, bandwidth_hz), tokens in plan.budgets.items():
        counts = {"vision": tokens.vision, "audio": tokens.audio, "text": study.question_tokens}
        airtime_ms = interval_ms(
            study.link_at(bandwidth_hz), {k: float(v) for k, v in counts.items()}, width
        )
        late = study.deadline_ms is not None and airtime_ms > study.deadline_ms
        shown.add_row(
            f"{bandwidth_hz / 1e6:g}",
            str(tokens.audio),
            str(tokens.vision),
            str(study.question_tokens),
            f"{sum(counts.values()) * width // 2}",
            f"{airtime_ms:.2f}{' (late)' if late else ''}",
            "-" if study.deadline_ms is None else f"{study.deadline_ms:g}",
        )
    return shown
