"""The tables of a study: one atomic parquet file for each finished cell and table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from tokcom_core.datasets.samples import read_samples

from ..plan.specs import Cell
from ..storage.folder import StudyFolder
from .columns import TableLayout
from .identity import cell_columns, identity
from .lateness import lateness
from .outcome import Outcome
from .references import read_references, with_references, write_references
from .rows import check_version, read_config, read_rows, read_values, write_rows
from .training import divergence, training_columns

_FILES_AT_ONCE = 10
"""Number of files that are read before their rows are copied together."""


class Tables:
    """The tables of one study, in its folder.

    Args:
        folder: Folder of the study.
        layout: Layout of the tables.
    """

    def __init__(self, folder: StudyFolder, layout: TableLayout) -> None:
        self.folder = folder
        self.layout = layout

    def check_version(self) -> None:
        """Raises ValueError if the tables that are here have another schema version."""
        store, results = self.folder.store, self.folder.results
        for name in store.names(results)[:1]:
            check_version(store.fetch(results / name), self.layout.results)

    def write_results(self, cell: Cell, outcomes: Sequence[Outcome], wall_s: float) -> None:
        """Writes a finished cell's rows, with the accuracies of the references at its seed.

        What training cost, and whether it diverged, follows from the cell's curves, which are
        written first.
        """
        task, steps = cell.task, self._steps(cell)
        splits = task.train_split, task.test_split
        train, test = (read_samples(self.folder.samples(split)) for split in splits)
        shared = {
            **self._references(cell),
            "majority_accuracy": task.majority_accuracy(train, outcomes[0].asked, test),
            **training_columns(cell, steps),
            "reason": divergence(cell, steps),
            "wall_s": wall_s,
        }
        rows = [{**outcome.result_row(self.layout), **shared} for outcome in outcomes]
        self._write(self.folder.result(cell.key), rows, self.layout.results)

    def _steps(self, cell: Cell) -> list[dict[str, Any]]:
        """The training steps of a cell; none if they are not there."""
        file = self.folder.curves / _name(cell.key)
        return self._rows(file, self.layout.curves) if self.folder.store.has(file) else []

    def write_failure(self, cell: Cell, reason: str) -> None:
        """Writes a failed cell: a row for each evaluation SNR, with the reason."""
        self._write_unevaluated(cell, {"status": "failed", "reason": reason})

    def write_infeasible(self, cell: Cell, reason: str) -> None:
        """Writes a cell whose budget the link cannot carry, so that nothing is trained for it."""
        untrained = {"train_steps": None, "learning_rate": None}
        self._write_unevaluated(cell, {**untrained, "status": "infeasible", "reason": reason})

    def _write_unevaluated(self, cell: Cell, values: dict[str, Any]) -> None:
        shared = {**identity(cell, self.layout), **values}
        rows = [{**shared, "eval_snr_db": snr_db} for snr_db in cell.eval_snr_db]
        self._write(self.folder.result(cell.key), rows, self.layout.results)

    def copy(self, source: Cell, cell: Cell) -> None:
        """Writes the tables of a cell that shares the evaluation of a finished one."""
        identified, columns = identity(cell, self.layout), cell_columns(cell, self.layout)
        del identified["versions"]  # those of the evaluation stay
        for folder, schema in (
            (self.folder.curves, self.layout.curves),
            (self.folder.devices, self.layout.devices_table),
            (self.folder.answers, self.layout.answers),
        ):
            if self.folder.store.has(folder / _name(source.key)):
                rows = self._rows(folder / _name(source.key), schema)
                copied = [{**row, **columns} for row in rows]
                self._write(folder / _name(cell.key), copied, schema)
        for snr_db in cell.eval_snr_db:
            before = self.folder.submission(source.key, snr_db)
            if self.folder.store.has(before):
                with self.folder.write(self.folder.submission(cell.key, snr_db)) as partial:
                    partial.write_bytes(self.folder.store.fetch(before).read_bytes())
        rows = [
            {**row, **identified, **lateness(cell.deadline_ms, self._latencies_ms(source, row))}
            if row["status"] == "ok"
            else {**row, **identified}
            for row in self._rows(self.folder.result(source.key), self.layout.results)
        ]
        self._write(self.folder.result(cell.key), rows, self.layout.results)

    def _latencies_ms(self, cell: Cell, row: dict[str, Any]) -> list[float | None]:
        """Latencies of all questions of a finished row; a single user's all have that of the row.

        Raises:
            ValueError: if the answers of many users were removed.
        """
        if cell.emulate is None:
            return [row["latency_ms"]]
        answers = self.read_answers(cell.key, ["eval_snr_db", "latency_ms"])
        if answers.empty:
            raise ValueError(
                f"{self.folder.answers / _name(cell.key)} is gone, so that which answers of its "
                f"emulation are late for another deadline is not known; remove "
                f"{self.folder.result(cell.key)} as well, and 'tokcom study resume' makes both"
            )
        alike = answers["eval_snr_db"].isna() | answers["eval_snr_db"].eq(row["eval_snr_db"])
        latencies_ms: list[float | None] = answers.loc[alike, "latency_ms"].tolist()
        return latencies_ms

    def read_results(self, cells: Sequence[Cell]) -> pd.DataFrame:
        """The rows of the given cells that have finished, in a stable order."""
        kept = set(self.folder.store.names(self.folder.results))
        files = [self.folder.result(cell.key) for cell in cells]
        frame = self._read([file for file in files if file.name in kept], self.layout.results)
        ordered: pd.DataFrame = frame.sort_values(list(self.layout.sort_by), ignore_index=True)
        return ordered

    def read_other_configs(self, cells: Sequence[Cell]) -> dict[str, str]:
        """Configs, as JSON, of all other cells that have results, by key."""
        known = {self.folder.result(cell.key).name for cell in cells}
        names = sorted(set(self.folder.store.names(self.folder.results)) - known)
        files = [self.folder.results / name for name in names if Path(name).match("cell-*.parquet")]
        return {file.stem: read_config(self.folder.store.fetch(file)) for file in files}

    def write_devices(self, cell: Cell, outcomes: Sequence[Outcome]) -> None:
        """Writes a row for each device and evaluated condition of a cell."""
        rows = [row for outcome in outcomes for row in outcome.device_rows(self.layout)]
        self._write(self.folder.devices / _name(cell.key), rows, self.layout.devices_table)

    def read_devices(self, cell: str) -> pd.DataFrame:
        """The rows of the cell of this key."""
        return self.read_all_devices([cell])

    def read_all_devices(self, cells: Sequence[str]) -> pd.DataFrame:
        """The rows of the cells of these keys."""
        files = [self.folder.devices / _name(cell) for cell in cells]
        return self._read(files, self.layout.devices_table)

    def write_answers(self, cell: Cell, outcomes: Sequence[Outcome]) -> None:
        """Writes a row for each question and evaluated condition of a cell."""
        rows = [row for outcome in outcomes for row in outcome.answer_rows(self.layout)]
        self._write(self.folder.answers / _name(cell.key), rows, self.layout.answers)

    def read_answers(self, cell: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of the cell of this key, or some columns of them; none if it has failed."""
        return self.read_all_answers([cell], columns)

    def read_all_answers(
        self, cells: Sequence[str], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The rows of the cells of these keys, or some columns of them."""
        files = [self.folder.answers / _name(cell) for cell in cells]
        schema = _part(self.layout.answers, columns)
        here = self.folder.store.fetch_several(files)
        return self._read([file for file in here if file.exists()], schema)

    def write_submissions(self, cell: Cell, outcomes: Sequence[Outcome]) -> None:
        """Writes the official results file of each evaluated condition, if the task has one.

        None of an emulation, whose users ask some questions several times and others never.
        """
        if cell.emulate is not None:
            return
        for outcome in outcomes:
            content = cell.task.submission(outcome.evaluation.predicted, outcome.asked)
            if content is not None:
                file = self.folder.submission(cell.key, outcome.eval_snr_db)
                with self.folder.write(file) as partial:
                    partial.write_text(json.dumps(content))

    def write_phase_curves(
        self, file: Path, phase: str, losses: Sequence[dict[str, float]]
    ) -> None:
        """Writes a row for each training step of a phase, into its artifact."""
        rows = [{"phase": phase, "step": i, **row} for i, row in enumerate(losses)]
        write_rows(file, rows, self.layout.phase_curves)

    def write_curves(self, cell: Cell, phases: Sequence[Path]) -> None:
        """Writes the training steps of a cell's phases, given the files of each.

        A phase may have been trained by another study, whose systems have other losses.
        """
        cell_values = cell_columns(cell, self.layout)
        steps = [row for f in phases for row in read_values(f, self.layout.phase_curves)]
        rows = [{**cell_values, **step} for step in steps]
        self._write(self.folder.curves / _name(cell.key), rows, self.layout.curves)

    def read_curves(
        self, cells: Sequence[str], columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """The training steps of the finished cells of these keys, or some columns of them."""
        return self._read(self._curves(cells), _part(self.layout.curves, columns))

    def read_training_losses(self, cells: Sequence[str], loss: str) -> pd.Series[float]:
        """Mean of a loss over the steps that have it, by the key of each cell that has some.

        The mean is NaN if the loss of some step is NaN. A step in which nothing has arrived has a
        null loss, which does not count; pandas would take it for NaN.
        """
        schema = _part(self.layout.curves, ["cell", loss])
        steps = self._table(self._curves(cells), schema).drop_null()
        means = steps.group_by("cell").aggregate([(loss, "mean")]).to_pandas()
        losses: pd.Series[float] = means.set_index("cell")[f"{loss}_mean"]
        return losses

    def update_references(self, results: pd.DataFrame) -> pd.DataFrame:
        """Stores the accuracies of finished references, also in the rows of all other cells.

        Args:
            results: Rows of ``results``.

        Returns:
            The rows as they are now.
        """
        write_references(self.folder, results, self.layout)
        updated = with_references(results, self.layout)
        columns = [reference.column for reference in self.layout.references]
        before, after = results[columns], updated[columns]
        stale = (before.ne(after) & ~(before.isna() & after.isna())).any(axis=1)
        known = updated.loc[stale, ["cell", *columns]].drop_duplicates("cell")
        for record in known.astype(object).where(known.notna(), None).to_dict("records"):
            file = self.folder.result(record.pop("cell"))
            values = {str(name): value for name, value in record.items()}
            rows = self._rows(file, self.layout.results)
            self._write(file, [{**row, **values} for row in rows], self.layout.results)
        return updated

    def _curves(self, cells: Sequence[str]) -> list[Path]:
        """The files of these cells that exist: a cell without training steps may have none."""
        kept = set(self.folder.store.names(self.folder.curves))
        return [self.folder.curves / name for name in sorted(kept & set(map(_name, cells)))]

    def _references(self, cell: Cell) -> dict[str, float | None]:
        if cell.reference is not None:
            return {}
        return read_references(self.folder, self.layout, cell.seed)

    def _write(self, file: Path, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
        with self.folder.write(file) as partial:
            write_rows(partial, rows, schema)

    def _rows(self, file: Path, schema: pa.Schema) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_rows(self.folder.store.fetch(file), schema).to_pylist()
        return rows

    def _read(self, files: Sequence[Path], schema: pa.Schema) -> pd.DataFrame:
        frame: pd.DataFrame = self._table(files, schema).to_pandas()
        return frame

    def _table(self, files: Sequence[Path], schema: pa.Schema) -> pa.Table:
        """The rows of these files, in their order.

        The files are read one after the other, since threads would wait for Python's lock. A few at
        a time are copied together, before the processor's caches have lost them. The table is in
        one piece, since thousands of pieces make pandas slow.
        """
        here = self.folder.store.fetch_several(files)
        parts = [schema.empty_table()]
        for start in range(0, len(here), _FILES_AT_ONCE):
            few = [read_rows(file, schema) for file in here[start : start + _FILES_AT_ONCE]]
            parts.append(pa.concat_tables(few).combine_chunks())
        return pa.concat_tables(parts).combine_chunks()


def _part(schema: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """A schema with only some of the columns, or with all of them for None."""
    if columns is None:
        return schema
    return pa.schema([schema.field(name) for name in columns], schema.metadata)


def _name(cell: str) -> str:
    return f"{cell}.parquet"
