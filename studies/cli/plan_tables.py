"""The tables of ``tokcom study plan``: cells, artifacts, airtime, training, precision, forecast."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table

from actors import airtime_ms, interval_s
from channel_models import SnrRange
from tokcom_core.checkpoints import POCKETS
from tokcom_core.systems import devices_of

from ..execution.finished import choose_learning_rates, left_to_run
from ..execution.progress import KIND_NAMES
from ..plan.artifact_spec import Spec
from ..plan.budgets import meets, operations_of_longest, user_link
from ..plan.cells import Plan
from ..plan.forecast import Forecast, specs_of
from ..plan.operations import served_streams
from ..plan.specs import Cell
from ..plan.study import Study
from ..plan.workload import DATA
from ..storage.folder import StudyFolder
from ..storage.usage import has_usage, read_usages
from ..tables.claims import unjudged
from ..tables.columns import MAX_POWER, PACKET_BITS, TableLayout
from ..tables.identity import budget_columns, identity
from ..tables.layout import layout_of
from ..tables.statistics import MIN_SEEDS, expected_half_width, needed_for
from ..tables.training import longest_step, phase_costs
from .forecast_table import forecast_table
from .printing import plain_table
from .screen import infeasible_notes

_SWEPT = {
    "dBm": MAX_POWER,
    "deadline (ms)": "deadline_ms",
    "users": "users",
    "bits": PACKET_BITS,
}
"""Columns that the table of cells has if cells differ in them: headers, and names of values."""
_FINE = 0.01
"""A half width that is fine enough for most comparisons."""


def plan_tables(study: Study, folder: StudyFolder) -> list[RenderableType]:
    """Tables of the cells, the artifacts that they share, budgets, training, expected precision.

    Cells whose budgets are infeasible are notes below the first table, and claims that no cell can
    test are notes below the others. The last table is the expected time and disk of what the
    study's folder lacks, estimated from what works of it, and of studies beside it, took.
    """
    plan = Plan(study)
    first = {
        c.label: c.system.learning_rates[0] for c in plan.contenders if c.system.learning_rates
    }
    cells = plan.known_cells(first | choose_learning_rates(plan, folder))
    specs = specs_of(plan, cells)
    reasons = [cell.reason for cell in plan.infeasible()]
    shown: list[RenderableType] = [
        _cells(cells, layout_of(study)),
        *infeasible_notes(reasons, len(cells) + len(reasons)),
        _artifacts(plan, cells, specs),
        _budgets(plan),
        _training(cells, layout_of(study)),
    ]
    shown += _expected_precision(study)
    notes = [f"{note} (untested)" for note in unjudged(study, layout_of(study))]
    left = left_to_run(folder, specs, cells)
    data_there = not left or (has_usage(folder, DATA) and folder.data(study).exists())
    forecast = Forecast(plan, left, read_usages(folder), data_there)
    return [*shown, *notes, forecast_table(study, forecast, begun=len(left) < len(specs))]


def needs(study: Study) -> list[str]:
    """What a study takes besides this package: checkpoints, data and GPUs."""
    needed = [
        f"{named.kind} {named.name}" for named in study.checkpoints if named.name not in POCKETS
    ]
    if study.data.folder is not None:
        needed.append(f"data in {study.data.folder}")
    if study.resources.gpu:
        needed.append(f"{study.resources.gpu:g} GPU a trial")
    return needed


def _cells(cells: Sequence[Cell], layout: TableLayout) -> Table:
    """Table of the cells; those that differ only in their seed, or a matched SNR, share a row."""
    ours = [cell for cell in cells if cell.reference is None]
    swept = {header: name for header, name in _SWEPT.items() if _differ(ours, name)}
    shown = plain_table(
        "method", "air", "trained at (dB)", "MHz", *swept, "tokens", "seeds",
        title=f"{len(cells)} cells",
    )  # fmt: skip
    seeds: dict[tuple[str, ...], set[int]] = {}
    for cell in cells:
        condition = (
            cell.method,
            cell.air_label,
            _training_snr(cell),
            f"{cell.bandwidth_hz / 1e6:g}",
            *(_number(getattr(cell, name)) for name in swept.values()),
            layout.budget_text(identity(cell, layout)),
        )
        seeds.setdefault(condition, set()).add(cell.seed)
    for condition, numbers in seeds.items():
        shown.add_row(*condition, str(len(numbers)))
    return shown


def _training_snr(cell: Cell) -> str:
    """``10``, ``-6 to 18`` or ``matched``, in dB; ``-`` under a link budget."""
    snr_db = cell.nominal_snr_db
    if isinstance(snr_db, SnrRange | str):
        return str(snr_db)
    return "-" if math.isnan(snr_db) else f"{snr_db:g}"


def _differ(cells: Sequence[Cell], name: str) -> bool:
    """Whether cells differ in a value; cells without packets never do in bits of a value."""
    values = {getattr(cell, name) for cell in cells}
    return len(values - {None} if name == PACKET_BITS else values) > 1


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _artifacts(plan: Plan, cells: Sequence[Cell], specs: Sequence[Spec]) -> Table:
    wanted = Counter(phase.kind for cell in cells for phase in cell.trained.lineage)
    by = {
        "features": f"{len(cells)} cells",
        "validation": f"{len(plan.candidates())} methods",
        "cell": f"{sum(len(cell.eval_snr_db) for cell in cells)} rows",
        **{phase: f"{count} cells" for phase, count in wanted.items()},
    }
    shown = plain_table("artifact", "wanted by", "runs", title="shared artifacts")
    for kind, runs in Counter(spec.kind for spec in specs).items():
        shown.add_row(KIND_NAMES.get(kind, kind), by[kind], str(runs))
    return shown


def _budgets(plan: Plan) -> Table:
    """Table of the airtime of the longest sample, as token symbols."""
    study = plan.study
    compute = study.compute
    encodes, answers = compute.device_gflops is not None, compute.station_gflops is not None
    shown = plain_table(
        "MHz", "tokens of each stream", "symbols", *(["encoding (ms)"] if encodes else []),
        "airtime (ms)", *(["answering (ms)"] if answers else []), "deadline (ms)",
        title="airtime of one question as token symbols, at its longest",
    )  # fmt: skip
    rows: dict[tuple[str, ...], None] = {}
    for contender in plan.contenders:
        for budget in plan.budgets(contender) if contender.reference is None else ():
            streams = served_streams(contender.system, study.task, budget.tokens)
            link = user_link(study, budget.bandwidth_hz, len(devices_of(streams)))
            needed_ms = airtime_ms(link, streams)
            operations = operations_of_longest(study, contender, budget.tokens)
            device_ms, station_ms = operations.device_ms(compute), operations.station_ms(compute)
            deadline_ms = budget.deadline_ms
            on_air_ms = needed_ms if study.emulate is None else 1e3 * interval_s(link, streams)
            late = not meets(deadline_ms, device_ms + on_air_ms + station_ms)
            row: tuple[str, ...] = (
                f"{budget.bandwidth_hz / 1e6:g}",
                ", ".join(f"{s.max_tokens} {s.name}" for s in streams),
                str(sum(s.max_tokens * s.symbols_per_token for s in streams)),
                *([f"{device_ms:.2f}"] if encodes else []),
                f"{needed_ms:.2f}{' (late)' if late else ''}",
                *([f"{station_ms:.2f}"] if answers else []),
                _number(deadline_ms),
            )
            rows[row] = None
    for row in rows:
        shown.add_row(*row)
    return shown


def _training(cells: Sequence[Cell], layout: TableLayout) -> Table:
    """Table of what the training of each phase of a method sends, if it sends token symbols."""
    shown = plain_table(
        "method", "phase", "MHz", "tokens", "symbols (1e6)", "airtime (s)",
        title="training over the air as token symbols, at its longest",
    )  # fmt: skip
    rows: dict[tuple[str, ...], None] = {}
    for cell in cells:
        for spec in cell.trained.lineage if cell.reference is None else ():
            if spec.crossing is not None and set(spec.crossing.transport.values()) - {"analog"}:
                continue  # the length of packets and files depends on channel and media
            link, steps = cell.crossing.link, spec.definition.training.steps
            cost = phase_costs(spec, link, [longest_step(spec, link)])
            row: tuple[str, ...] = (
                cell.method,
                spec.phase,
                f"{cell.bandwidth_hz / 1e6:g}",
                ", ".join(layout.budget_text(budget_columns(t, layout)) for t in spec.step_tokens),
                f"{1e-6 * steps * cost.channel_uses:,.2f}",
                f"{steps * cost.airtime_s:,.1f}",
            )
            rows[row] = None
    for row in rows:
        shown.add_row(*row)
    return shown


def _expected_precision(study: Study) -> list[RenderableType]:
    """The table of the precision, or a note where the number of questions is not known yet."""
    questions = _questions(study)
    if questions is None:
        note = "expected precision: set evaluation.questions; without it every question of the "
        return [f"{note}test split counts, and how many these are is known once the data are made"]
    if questions <= 1:
        return []
    tables: list[RenderableType] = [_precision(questions, len(study.seeds))]
    if not _split_is_known(study):
        note = "taken as different questions: how often users ask the same ones is known once the "
        tables.append(f"{note}data are made, and repeats make nothing more precise")
    return tables


def _split_is_known(study: Study) -> bool:
    """Whether the number of questions that can be asked is known: of a folder, or as set."""
    return study.data.folder is not None or study.evaluation.questions is not None


def _questions(study: Study) -> int | None:
    """Number of different questions that each network answers, if it is known.

    Emulated users are taken to ask as many as their rate gives on average, all different unless
    the test split is known to have fewer. Of several emulations, the one with the fewest questions
    counts.
    """
    questions, folder = study.evaluation.questions, study.data.folder
    if folder is not None:
        there = len(study.task.samples(folder, study.task.test_split))
        questions = there if questions is None else min(questions, there)
    if study.emulate is None:
        return questions
    asked = min(
        round(users.users * users.questions_per_s * users.duration_s)
        for users in study.emulate.each
    )
    return asked if questions is None else min(asked, questions)


def _precision(questions: int, seeds: int) -> Table:
    """Table of how precisely two methods are compared, here and with more seeds or questions.

    The last rows say what it takes for half of the width, and for ± .01. This is a rule of thumb,
    by the spread of seeds and the disagreement of methods in the miniature worlds.
    """
    shown = plain_table(
        "seeds", "questions", "difference",
        title="expected precision of a paired difference",
    )  # fmt: skip
    more_seeds = [count for count in (5, 10) if count > seeds]
    sizes = [(seeds, questions), *((count, questions) for count in more_seeds)]
    now = expected_half_width(max(seeds, MIN_SEEDS), questions)
    targets = sorted({now / 2, _FINE} if now > _FINE else {now / 2}, reverse=True)
    finer = [needed_for(target, seeds, questions) for target in targets]
    for count, asked in dict.fromkeys([*sizes, (seeds, 4 * questions), *finer]):
        half = f"± {min(expected_half_width(count, asked), 1.0):.3f}".replace("0.", ".")
        note = "" if count >= MIN_SEEDS else ", of these networks alone"
        shown.add_row(str(count), f"{asked:,}", f"{half}{note}")
    return shown
