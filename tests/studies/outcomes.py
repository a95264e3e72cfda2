"""Finished studies whose answers are drawn at random: the real tables, without any training."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from actors import Arrival, Evaluation
from channel_models import Overhead
from studies.plan.cells import Plan
from studies.plan.methods import METHODS
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.table import (
    Outcome,
    read_results,
    write_answers,
    write_cell_curves,
    write_curves,
    write_devices,
    write_floors,
    write_results,
)
from tokcom_core.datasets.samples import QUESTION_TYPE_NAMES, Samples

CLIPS, QUESTIONS_PER_CLIP = 30, 4


def finished_samples() -> Samples:
    """Some questions about each of some clips."""
    count = CLIPS * QUESTIONS_PER_CLIP
    return Samples(
        video_id=tuple(f"clip{i // QUESTIONS_PER_CLIP}" for i in range(count)),
        question_id=tuple(str(1000 + i) for i in range(count)),
        caption=("",) * count,
        question=("is it?",) * count,
        answer=("yes",) * count,
        question_type=tuple(QUESTION_TYPE_NAMES[i % 9] for i in range(count)),
        template=("is it?",) * count,
    )


def outcome(cell: Cell, plan: Plan, snr_db: float, accuracy: float) -> Outcome:
    """One evaluated condition; questions about a clip are answered rightly all or mostly not."""
    rng = np.random.default_rng([cell.tuning.seed, 7])
    asked = finished_samples()
    odds = math.log(accuracy / (1 - accuracy)) + rng.normal(0, 1, CLIPS)
    chance = np.repeat(1 / (1 + np.exp(-odds)), QUESTIONS_PER_CLIP)
    hits = tuple((rng.random(len(asked)) < chance).tolist())
    tokens = {"question": 8.0}
    if cell.tuning.tokens is not None:
        tokens |= {"audio": cell.tuning.tokens.audio, "vision": cell.tuning.tokens.vision}
    arrivals = {
        stream: Arrival(
            sender="text" if stream == "question" else stream,
            tokens=count,
            realised_snr_db=snr_db if math.isfinite(snr_db) else 4.0,
            sinr_db=snr_db,
            erased_fraction=0.0,
            lost_fraction=0.0,
            overhead=Overhead(count * 64, 9.0, 32.0, count / 20, count / 5),
        )
        for stream, count in tokens.items()
    }
    scores = Evaluation(hits, hits, 0.5, 0.4, arrivals, 1.0)
    weights = {"foundation": 1000, "audio": 10, "vision": 10, "text": 10}
    return Outcome(cell, snr_db, scores, asked, plan.shapes, weights)


def finish(
    study: Study, folder: StudyFolder, accuracy: Callable[[Cell, float], float]
) -> pd.DataFrame:
    """Writes every table of a study whose cells reach these accuracies; returns the results."""
    folder.begin(study)
    plan = Plan(study)
    for split in ("train", "test"):
        finished_samples().write(folder.root / "samples" / f"{split}.parquet")
    cells = plan.cells(dict.fromkeys(METHODS, 1e-3))
    for cell in cells:
        outcomes = [outcome(cell, plan, snr, accuracy(cell, snr)) for snr in cell.eval_snr_db]
        stage = folder.root / "stage.parquet"
        slope = 1 + 0.2 * cell.tuning.seed + cell.bandwidth_hz / 5e6
        write_curves(
            stage, "fine-tuning", [{"task": 0.2 + 2 * math.exp(-i / 30 / slope)} for i in range(90)]
        )
        write_cell_curves(folder, cell, [stage])
        write_devices(folder, cell, outcomes)
        write_answers(folder, cell, outcomes)
        write_results(folder, cell, outcomes, 1.0)
        if cell.method.floor:
            write_floors(folder, read_results(folder, [c for c in cells if c.method.floor]))
    return read_results(folder, cells)
