"""Runs a study: its stages in order, each over its distinct specs, then tables and pictures."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean

import pandas as pd
import ray
from rich.console import Console

from tokcom_core.checkpoints import load_tokenizer
from tokcom_core.datasets.media import prepare, read_sampling
from tokcom_core.datasets.minimusic.write import write_minimusic
from tokcom_core.storage import StorageError, writing
from tokcom_core.vocabulary import check_answers, warn_of_unknown_words

from ..figures.report import write_report
from ..plan.cells import Plan
from ..plan.methods import uploads_files
from ..plan.specs import DATASET_OF, SPLITS, TASK_SPLITS, Cell, TuningSpec, ValidationSpec
from ..plan.study import Study
from ..storage.artifacts import Spec
from ..storage.folder import StudyFolder
from ..tables.table import read_results, update_floors, write_failure, write_floors
from .interrupt import Interrupt
from .progress import StudyProgress
from .reasons import reason_of
from .splits import load_split, write_file_bits, write_samples
from .stages import Stages
from .trial import TrialRunner, start_ray

logger = logging.getLogger(__name__)


def run_study(
    study: Study, out: str | Path, console: Console | None = None, address: str | None = None
) -> pd.DataFrame:
    """Runs what the folder ``out`` does not hold yet, and returns the whole results table.

    Args:
        study: what to run.
        out: the study's folder, or a URI of any file system that pyarrow knows.
        console: where to show progress, if anywhere.
        address: of a Ray cluster, which shares ``out`` if that is a folder; None starts Ray on
            this machine.

    Raises:
        ValueError: for impossible budgets, missing data, a cluster that cannot be joined, or a
            folder with another study.
        StorageError: where the disk is full; what is finished stays, and a resume goes on.
    """
    plan = Plan(study)  # refuses what cannot be, before anything is written
    folder = StudyFolder(out)
    folder.check(study)
    started_ray = False
    with StudyProgress(console) as progress, Interrupt() as interrupt:
        try:
            cells = _known_cells(plan, folder)
            if cells is None or any(not folder.has_result(cell.key) for cell in cells):
                for air, bandwidth_hz in product(study.airs, study.bandwidth_hz):
                    air.prepare(study.link_at(bandwidth_hz))
                folder.begin(study)
                started_ray = start_ray(study, address)
                _make_data(study, folder, progress)
                check_vocabulary(study, folder.data(study))
                warn_of_sampling(study)
                cells = _StudyRun(study, folder, plan, progress, interrupt).run()
        finally:
            if started_ray:
                ray.shutdown()
            folder.store.remove(folder.tune)
    table = read_results(folder, cells)
    with writing(folder.report):
        write_report(folder, table)
    return table


def finished_table(out: str | Path) -> pd.DataFrame:
    """The rows that a study has so far.

    Raises:
        ValueError: if there is no study in ``out``, or it has no finished cell.
    """
    folder = StudyFolder(out)
    cells = _known_cells(Plan(folder.open()), folder)
    table = read_results(folder, cells or [])
    if table.empty:
        raise ValueError(f"the study in {out} has no finished cell; 'tokcom study resume' goes on")
    return table


def forget_failures(out: str | Path) -> int:
    """Removes the rows of failed cells, so that a resume runs them again; returns how many."""
    folder = StudyFolder(out)
    folder.open()
    failed = [
        file
        for file in folder.store.fetch_all(folder.results).glob("cell-*.parquet")
        if (pd.read_parquet(file, columns=["status"])["status"] == "failed").any()
    ]
    for file in failed:
        folder.store.remove(file)
    return len(failed)


class _StudyRun:
    """One pass over the stages of a study."""

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        plan: Plan,
        progress: StudyProgress,
        interrupt: Interrupt,
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._study = study
        self._progress = progress
        self._interrupt = interrupt
        self._features = plan.features()
        self._trials = TrialRunner(study, folder, self._features)
        self._failed: dict[str, str] = {}

    def run(self) -> list[Cell]:
        self._stage("frozen tokens", self._features)
        self._require(self._features)
        write_samples(self._folder, self._study, self._features)
        if any(uploads_files(method) for method in self._plan.methods):
            write_file_bits(self._folder, self._study)
        tried = [spec for specs in self._plan.candidates().values() for spec in specs]
        self._align(spec.tuning for spec in tried)
        self._stage("learning rates", tried)
        self._require(tried)
        cells = self._plan.cells(choose_learning_rates(self._plan, self._folder))
        self._align(cell.tuning for cell in cells)
        floors = [cell for cell in cells if cell.method.floor]
        others = [cell for cell in cells if not cell.method.floor]
        tunings = [c.tuning for c in self._waiting(others) if not self._blocked(c)]
        self._stage("fine-tuning and floors", [*self._waiting(floors), *tunings])
        self._record_failures(floors)
        write_floors(self._folder, read_results(self._folder, floors))
        update_floors(self._folder, others)
        able = [c for c in self._waiting(others) if not self._blocked(c)]
        self._stage("evaluation", [c for c in able if c.emulate is None])
        self._emulate([c for c in able if c.emulate is not None])
        self._record_failures(others)
        return cells

    def _emulate(self, cells: Sequence[Cell]) -> None:
        """One after the other, from this process: each spreads over the whole machine."""
        stages = Stages(self._study, self._folder, self._features)
        for cell in cells:
            try:
                stages.emulate(cell, self._progress.watch)
            except StorageError:
                raise
            except Exception as error:  # any failure becomes a row of the table
                logger.exception("%s failed", cell.key)
                self._failed[cell.key] = reason_of(error)

    def _align(self, tunings: Iterable[TuningSpec]) -> None:
        missing = [t for t in tunings if not self._folder.artifacts.has(t)]
        self._stage("alignment", [t.alignment for t in missing if t.alignment is not None])

    def _waiting(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if not self._folder.has_result(cell.key)]

    def _blocked(self, cell: Cell) -> str | None:
        """Why a cell cannot run: something it depends on has failed."""
        tuning = cell.tuning
        keys = [cell.key, tuning.key, *([tuning.alignment.key] if tuning.alignment else [])]
        return next((self._failed[key] for key in keys if key in self._failed), None)

    def _record_failures(self, cells: Sequence[Cell]) -> None:
        for cell in self._waiting(cells):
            write_failure(self._folder, cell, self._blocked(cell) or "it left no result")

    def _stage(self, name: str, specs: Sequence[Spec]) -> None:
        """Runs the distinct specs that have no artifact yet."""
        distinct = {s.key: s for s in specs if not self._folder.artifacts.has(s)}
        if distinct:
            with self._progress.stage(name, len(distinct)) as stage:

                def ended(_: Spec) -> None:
                    stage.advance(1)
                    self._interrupt.check()

                failures = self._trials.run(list(distinct.values()), ended)
                self._interrupt.check()
                self._failed.update(failures)
                stage.failed = len(failures)

    def _require(self, specs: Sequence[Spec]) -> None:
        for spec in specs:
            if not self._folder.artifacts.has(spec):
                raise ValueError(f"{spec.kind} failed: {self._failed.get(spec.key, 'no reason')}")


def choose_learning_rates(plan: Plan, folder: StudyFolder) -> dict[str, float]:
    """By method, the learning rate of the least validation loss, the mean over seeds.

    The loss, not the accuracy: on a few hundred questions it is far less noisy.
    """
    rates = plan.study.fine_tuning.learning_rates
    chosen = dict.fromkeys(plan.methods, rates[0])
    for method, specs in plan.candidates().items():
        losses: dict[float, list[float]] = {}
        for spec in specs:
            losses.setdefault(spec.tuning.learning_rate, []).append(_validation_loss(folder, spec))
        chosen[method] = min(sorted(losses), key=lambda rate: fmean(losses[rate]))
    return chosen


def _validation_loss(folder: StudyFolder, spec: ValidationSpec) -> float:
    file = folder.artifacts.path(spec) / "validation.json"
    return float(json.loads(file.read_text())["loss"])


def _known_cells(plan: Plan, folder: StudyFolder) -> list[Cell] | None:
    """The cells, or None while the learning rates are not chosen."""
    candidates = [spec for specs in plan.candidates().values() for spec in specs]
    if not all(folder.artifacts.has(spec) for spec in candidates):
        return None
    return plan.cells(choose_learning_rates(plan, folder))


def _make_data(study: Study, folder: StudyFolder, progress: StudyProgress) -> None:
    """Writes and prepares the study's own MiniMUSIC, as far as it is not there."""
    own = study.data.minimusic
    if own is None:
        return
    root = folder.data(study)
    with progress.stage("MiniMUSIC: clips", own.clips) as stage:
        write_minimusic(root, own.clips, own.seed, progress=stage.advance)
    with progress.stage("MiniMUSIC: frames and sound", own.clips) as stage:
        prepared = prepare(root, progress=stage.advance)
        stage.failed = len(prepared.damaged)
    for damaged in prepared.damaged:
        logger.warning("skipped %s", damaged)


def warn_of_sampling(study: Study) -> None:
    """Warns where the first frames are wanted, but frames lie evenly over the clips."""
    if study.models.frames == "first" and study.data.folder is not None:
        for dataset in dict.fromkeys(DATASET_OF.values()):
            sampling = read_sampling(study.data.folder / dataset)
            if sampling is not None and sampling.rate_hz is None:
                logger.warning(
                    "models.frames: first, but %s has %s; 'tokcom data prepare --rate 0.6' takes "
                    "them from a clip's start", dataset, sampling,
                )  # fmt: skip


def check_vocabulary(study: Study, root: Path) -> None:
    """Warns of words in the data ``root`` that the study's language model does not know.

    Raises:
        ValueError: for answers that it cannot say.
    """
    tokenizer = load_tokenizer(study.models.language)
    samples = {split: load_split(root, split) for split in SPLITS}
    answers = [answer for split in TASK_SPLITS for answer in samples[split].answer]
    check_answers(tokenizer, answers, study.evaluation.max_answer_tokens)
    for what in ("question", "caption"):
        texts = (text for split in samples.values() for text in getattr(split, what))
        warn_of_unknown_words(tokenizer, texts, f"{what}s")
