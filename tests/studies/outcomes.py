"""Finished studies whose answers are drawn at random: the real tables, without any training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from actors import Evaluation, ReceptionSummary
from channel_models import Overhead
from studies.execution.finished import choose_learning_rates
from studies.plan.cells import Plan
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.costs import NetworkSizes
from studies.tables.files import Tables
from studies.tables.layout import layout_of
from studies.tables.outcome import EmulationScores, Outcome
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa

CLIPS, QUESTIONS_PER_CLIP = 30, 4


def finished_samples() -> Samples:
    """Some questions about each of some clips."""
    count = CLIPS * QUESTIONS_PER_CLIP
    return Samples(
        {
            "media_id": tuple(f"clip{i // QUESTIONS_PER_CLIP}" for i in range(count)),
            "sample_id": tuple(str(1000 + i) for i in range(count)),
            "answer": ("yes",) * count,
            "group": tuple(Avqa.groups[i % len(Avqa.groups)] for i in range(count)),
            "template": ("is it?",) * count,
        }
    )


def outcome(cell: Cell, snr_db: float, accuracy: float) -> Outcome:
    """One evaluated condition; questions about a clip are answered rightly all or mostly not."""
    rng = np.random.default_rng([cell.seed, 7])
    asked = finished_samples()
    odds = math.log(accuracy / (1 - accuracy)) + rng.normal(0, 1, CLIPS)
    chance = np.repeat(1 / (1 + np.exp(-odds)), QUESTIONS_PER_CLIP)
    hits = tuple((rng.random(len(asked)) < chance).tolist())
    tokens = {"question": 8.0, **cell.trained.tokens}
    streams = {
        stream: ReceptionSummary(
            sender="text" if stream == "question" else stream,
            tokens=count,
            realised_snr_db=snr_db if math.isfinite(snr_db) else 4.0,
            sinr_db=snr_db,
            erased_fraction=0.0,
            lost_fraction=0.0,
            sent_fraction=1.0,
            overhead=Overhead(count * 64, 9.0, 32.0, count / 20, count / 5),
        )
        for stream, count in tokens.items()
    }
    predicted, scores = tuple("yes" if hit else "no" for hit in hits), tuple(map(float, hits))
    losses = {"task": 0.5, "first_token": 0.4}
    evaluation = Evaluation(predicted, scores, hits, losses, streams, 1.0)
    windows = {device: {device: 1.0} for device in cell.trained.tokens}
    weights = {"audio": 10, "vision": 10, "text": 10}
    sizes = NetworkSizes(windows, weights, {"device": "Card", "dtype": "bfloat16"})
    return Outcome(cell, snr_db, evaluation, asked, sizes)


def emulated(found: Outcome, latencies_ms: Sequence[float | None]) -> Outcome:
    """The outcome if user 0 of many had waited so long for each answer, None for ever."""
    known = [latency_ms for latency_ms in latencies_ms if latency_ms is not None]
    columns = {"latency_ms": float(np.mean(known)), "answers_per_s": 1.0}
    scores = EmulationScores(columns, (0,) * len(found.asked), tuple(latencies_ms), [])
    return replace(found, emulation=scores)


def tables_of(study: Study, folder: StudyFolder) -> Tables:
    return Tables(folder, layout_of(study))


def finish(
    study: Study, folder: StudyFolder, accuracy: Callable[[Cell, float], float]
) -> pd.DataFrame:
    """Writes every table of a study whose cells reach these accuracies; returns the results."""
    folder.begin(study)
    plan, tables = Plan(study), tables_of(study, folder)
    for split in ("train", "test"):
        finished_samples().write(folder.root / "samples" / f"{split}.parquet")
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    for cell in cells:
        outcomes = [outcome(cell, snr, accuracy(cell, snr)) for snr in cell.eval_snr_db]
        phase = folder.root / "phase.parquet"
        of_network = int(cell.trained.key[-4:], 16) / 2**16  # cells that share it learn alike
        slope = 1 + 0.2 * cell.seed + cell.bandwidth_hz / 5e6 + 0.001 * of_network
        sent = {"samples": 8, "channel_uses_question": 512.0}
        losses = [{"task": 0.2 + 2 * math.exp(-i / 30 / slope), **sent} for i in range(90)]
        tables.write_phase_curves(phase, "fine-tuning", losses)
        tables.write_curves(cell, [phase])
        tables.write_devices(cell, outcomes)
        tables.write_answers(cell, outcomes)
        tables.write_results(cell, outcomes, 1.0)
    return tables.update_references(tables.read_results(cells))
