"""What finished work took, one file a spec, for estimates of later studies."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from ..plan.artifact_spec import Spec
from ..plan.specs import Cell
from ..plan.workload import Usage
from .folder import StudyFolder


def write_usage(folder: StudyFolder, name: str, usage: Usage) -> None:
    """Stores what a piece of work took."""
    with folder.write(_file(folder, name)) as partial:
        partial.write_text(usage.model_dump_json(indent=1))


def has_usage(folder: StudyFolder, name: str) -> bool:
    """Whether a piece of work has been done whole in this study."""
    return folder.store.has(_file(folder, name))


def read_usages(folder: StudyFolder) -> list[Usage]:
    """What work of a study, and of the studies in folders beside it, took.

    Files of another version are left out.
    """
    folder.store.fetch_all(folder.usage)
    found: list[Usage] = []
    for file in sorted(folder.root.parent.glob(f"*/{folder.usage.name}/*.json")):
        try:
            found.append(Usage.model_validate_json(file.read_bytes()))
        except ValidationError:
            continue
    return found


def files_of(folder: StudyFolder, spec: Spec) -> list[Path]:
    """The files and folders that a spec makes on this machine."""
    if not isinstance(spec, Cell):
        return [folder.artifacts.root / spec.key]
    tables = (folder.results, folder.devices, folder.answers, folder.curves)
    submissions = [folder.submission(spec.key, snr_db) for snr_db in spec.eval_snr_db]
    return [*(table / f"{spec.key}.parquet" for table in tables), *submissions]


def size_of(places: Iterable[Path]) -> int:
    """Bytes of those files and folders that exist."""
    files = [file for place in places for file in (place, *place.rglob("*")) if file.is_file()]
    return sum(file.stat().st_size for file in files)


def _file(folder: StudyFolder, name: str) -> Path:
    return folder.usage / f"{name}.json"
