"""The folder of a study."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from tokcom_core.storage import atomic_file, remove_partials, writing

from ..plan.artifact_spec import Spec
from ..plan.differences import differences
from ..plan.digests import digests_of
from ..plan.loading import load
from ..plan.numbers import exact_text
from ..plan.study import Study
from .artifacts import Artifacts
from .store import store_at

_SHOWN = 5
"""Maximum number of differing keys that a message names."""


class StudyFolder:
    """Paths in the folder of a study, its store and its lock.

    The folder has ``study.yaml``, ``digests.json``, ``references.json``, ``file_bits.parquet``,
    ``data/``, ``samples/``, ``artifacts/``, ``checkpoints/``, ``results/``, ``curves/``,
    ``devices/``, ``answers/``, ``submissions/``, ``journals/``, ``usage/``, ``tune/``, ``logs/``
    and ``report/``; that of a search is marked by ``search.json`` and has ``search.parquet``.

    Args:
        place: Folder, or URI of any file system that pyarrow knows.
    """

    def __init__(self, place: str | Path) -> None:
        self.store = store_at(place)
        self.root = self.store.root
        self.config = self.root / "study.yaml"
        self.digests = self.root / "digests.json"
        self._searched = self.root / "search.json"
        self.trials = self.root / "search.parquet"
        self.references = self.root / "references.json"
        self.file_bits = self.root / "file_bits.parquet"
        self.split_samples = self.root / "samples"
        self.checkpoints = self.root / "checkpoints"
        self.artifacts = Artifacts(self.root / "artifacts", self.store)
        self.results = self.root / "results"
        self.curves = self.root / "curves"
        self.devices = self.root / "devices"
        self.answers = self.root / "answers"
        self.submissions = self.root / "submissions"
        self.journals = self.root / "journals"
        self.usage = self.root / "usage"
        self.tune = self.root / "tune"
        self.logs = self.root / "logs"
        self.report = self.root / "report"

    def data(self, study: Study) -> Path:
        """The data set: the study's own MiniMUSIC or MiniCLEVR, or the user's folder."""
        return study.data.folder.resolve() if study.data.folder else self.root / "data"

    def samples(self, split: str) -> Path:
        return self.store.fetch(self.split_samples / f"{split}.parquet")

    def result(self, key: str) -> Path:
        """The table of one cell."""
        return self.results / f"{key}.parquet"

    def has_result(self, key: str) -> bool:
        return self.store.has(self.result(key))

    def has_failed(self, key: str) -> bool:
        """Whether the table of a cell says that it has failed."""
        rows = pd.read_parquet(self.store.fetch(self.result(key)), columns=["status"])
        return bool((rows["status"] == "failed").any())

    def has(self, spec: Spec) -> bool:
        """Whether the artifact of a spec, or the table of a cell, exists."""
        return self.has_result(spec.key) if spec.kind == "cell" else self.artifacts.has(spec)

    @contextmanager
    def write(self, file: Path) -> Iterator[Path]:
        """Yields a temporary name that becomes ``file``, and is kept, when the block succeeds."""
        with atomic_file(file) as partial:
            yield partial
        self.store.keep(file)

    def journal(self, key: str, eval_snr_db: float) -> Path:
        """Folder of the journal of an emulated cell."""
        return self.store.fetch_exactly(self.journals / condition_name(key, eval_snr_db))

    def submission(self, key: str, eval_snr_db: float) -> Path:
        """Official results file of a cell, for a judge or a server."""
        return self.submissions / f"{condition_name(key, eval_snr_db)}.json"

    def open(self) -> Study:
        """The study that was begun here.

        Raises:
            ValueError: if there is none, or only a search.
        """
        self.store.begin()
        if not self.begun:
            raise ValueError(f"no study in {self.store}; 'tokcom study run' begins one")
        self._refuse_search()
        return self._study()

    def _study(self) -> Study:
        return load(self.store.fetch(self.config))

    def _refuse_search(self) -> None:
        if self.store.has(self._searched):
            raise ValueError(
                f"{self.store} holds a search, whose trials are in {self.trials.name}; the same "
                "'tokcom study search' goes on with it"
            )

    @property
    def begun(self) -> bool:
        return self.store.has(self.config)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other runs out of the folder; out of an object store, only those of this machine.

        A process that dies releases the lock. If no study was begun, the lock file and the folders
        made for it are removed.

        Raises:
            ValueError: if another run is at work here.
            OSError: for a folder that cannot be made or written.
        """
        file = self.store.lock
        lock = FileLock(file)
        made = [folder for folder in file.parents if not folder.exists()]
        try:
            with writing(file):
                file.parent.mkdir(parents=True, exist_ok=True)
                lock.acquire(timeout=0)
        except Timeout:
            raise ValueError(
                f"another run is at work in {self.store}; wait for it, or take another --out"
            ) from None
        try:
            yield
        finally:
            if not self.config.exists():
                file.unlink(missing_ok=True)
                with suppress(OSError):  # a folder that holds something else stays
                    for folder in made:
                        folder.rmdir()
            lock.release()

    def check(self, study: Study, variants: Sequence[Study] = ()) -> dict[str, str]:
        """Checks that a study may begin or go on here; writes nothing.

        Args:
            study: The study.
            variants: Variants of it that run in its folder.

        Returns:
            Digests of what they read from outside the package, see :func:`digests_of`.

        Raises:
            ValueError: if another study was begun here; the message names the keys that differ. A
                study with more values of a swept key is the same one, grown. Also if a search was
                begun here and this is a study, or the other way round; or if the user's own
                modules, checkpoint folders or scenes have changed.
        """
        self.store.begin()
        now = digests_of(study, *variants)
        if not self.begun:
            return now
        if not variants:
            self._refuse_search()
        elif not self.store.has(self._searched):
            raise ValueError(f"{self.store} holds a study; choose another --out for a search")
        found = differences(self._study(), study)
        if found:
            more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            raise ValueError(
                f"{self.store} holds another study ({', '.join(found[:_SHOWN])}{more}); choose "
                "another --out"
            )
        before = self._begun_digests()
        if changed := [name for name in now if before.get(name, now[name]) != now[name]]:
            raise ValueError(
                f"{', '.join(changed)} has changed since the results in {self.store} were made "
                "with it; choose another --out, or take the earlier version; where the change does "
                f"not matter to them, remove {self.digests.name} there"
            )
        return now

    def _begun_digests(self) -> dict[str, str]:
        """Digests that the study was begun with, see :func:`digests_of`."""
        if not self.store.has(self.digests):
            return {}
        found: dict[str, str] = json.loads(self.store.fetch(self.digests).read_text())
        return found

    def begin(self, study: Study, variants: Sequence[Study] = ()) -> None:
        """Claims the folder for a study, or goes on with the same one, which may have grown.

        Args:
            study: The study.
            variants: Variants of it that run in its folder.

        Raises:
            ValueError: as :meth:`check`.
        """
        now = self.check(study, variants)
        for folder in (
            self.artifacts.root,
            self.results,
            self.curves,
            self.devices,
            self.answers,
            self.split_samples,
        ):
            folder.mkdir(parents=True, exist_ok=True)
            remove_partials(folder)
        self.artifacts.forget_unkept()
        before = self._begun_digests()
        digests = before | now
        unknown = not self.store.has(self.digests)
        if self.begun and unknown and digests:
            self._forget_unfinished()
        if variants and not self.begun:
            with self.write(self._searched) as partial:
                partial.write_text("{}")
        if not self.begun or self._study() != study:
            with self.write(self.config) as partial:
                partial.write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        if unknown or digests != before:
            with self.write(self.digests) as partial:
                partial.write_text(json.dumps(digests, indent=1))

    def _forget_unfinished(self) -> None:
        """Removes what unfinished trainings and emulations would go on from.

        Nothing tells any more what code it was made by.
        """
        self.store.remove(self.checkpoints)
        for name in self.store.names(self.journals):
            key = name.partition("_")[0]
            if not self.has_result(key) or self.has_failed(key):
                self.store.remove(self.journals / name)

    def keep_cells(self, keys: Collection[str]) -> None:
        """Removes the tables of all other cells."""
        for folder in (self.results, self.answers, self.devices, self.curves, self.submissions):
            for name in self.store.names(folder):
                if name.startswith("cell-") and Path(name).stem.partition("_")[0] not in keys:
                    self.store.remove(folder / name)


def condition_name(key: str, eval_snr_db: float) -> str:
    """Name of an evaluated condition of a cell."""
    if math.isnan(eval_snr_db):
        return key
    return f"{key}_{exact_text(eval_snr_db)}dB"
