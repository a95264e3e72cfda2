"""What ``tokcom study plan`` prints: cells, shared stages, and the airtime of a question."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from .budgets import interval_ms
from .cells import Plan
from .methods import METHODS
from .specs import TuningSpec
from .study import Study


def plan_tables(study: Study) -> list[Table]:
    """Tables of the stages (cells that want them, distinct ones) and of the budgets."""
    plan = Plan(study)
    rates = study.fine_tuning.learning_rates
    cells = plan.cells(dict.fromkeys(plan.methods, rates[0]))
    return [_stages(plan, [cell.tuning for cell in cells]), _budgets(plan)]


def _stages(plan: Plan, tunings: list[TuningSpec]) -> Table:
    alignments = [t.alignment for t in tunings if t.alignment is not None]
    tried = [spec for specs in plan.candidates().values() for spec in specs]
    shown = Table("stage", "wanted by", "runs", title=f"study {plan.study.name}")
    shown.add_row("frozen tokens", f"{len(tunings)} cells", str(len(plan.features())))
    if tried:
        shown.add_row("learning rates tried", f"{len(plan.candidates())} methods", str(len(tried)))
    shown.add_row("alignment", f"{len(alignments)} cells", str(len({a.key for a in alignments})))
    shown.add_row("fine-tuning", f"{len(tunings)} cells", str(len({t.key for t in tunings})))
    shown.add_row("evaluation", "", str(len(tunings)))
    for method, count in Counter(t.method for t in tunings).items():
        shown.add_row("", METHODS[method].summary, f"{count} {method}")
    return shown


def _budgets(plan: Plan) -> Table:
    """Airtime at the longest question: what the budget must hold."""
    study, width = plan.study, plan.shapes.token_width
    shown = Table(
        "bandwidth (MHz)",
        "audio",
        "vision",
        "question",
        "symbols",
        "airtime (ms)",
        "deadline (ms)",
        title=f"one question, at most {study.question_tokens} words long",
    )
    for (_, bandwidth_hz), tokens in plan.budgets.items():
        counts = {"vision": tokens.vision, "audio": tokens.audio, "text": study.question_tokens}
        airtime = interval_ms(
            study.link_at(bandwidth_hz), {k: float(v) for k, v in counts.items()}, width
        )
        late = study.deadline_ms is not None and airtime > study.deadline_ms
        shown.add_row(
            f"{bandwidth_hz / 1e6:g}",
            str(tokens.audio),
            str(tokens.vision),
            str(study.question_tokens),
            f"{sum(counts.values()) * width // 2}",
            f"{airtime:.2f}{' (late)' if late else ''}",
            "-" if study.deadline_ms is None else f"{study.deadline_ms:g}",
        )
    return shown
