"""A study's folder: whole artifacts, of one study and of one version of all that it is made by."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from studies.execution.run import run_study
from studies.plan.artifact_spec import Spec
from studies.plan.digests import digests_of
from studies.plan.modules import module_source
from studies.plan.study import Study
from studies.storage.artifacts import Artifacts
from studies.storage.folder import StudyFolder, condition_name
from studies.storage.store import Store
from studies.tables.rows import write_rows
from tokcom_core.checkpoints import pocket_folder

from .outcomes import tables_of


class NumberSpec(Spec):
    number: int


def test_an_artifact_is_whole_or_absent(tmp_path: Path) -> None:
    artifacts, spec = Artifacts(tmp_path, Store(tmp_path)), NumberSpec(number=1)
    with pytest.raises(RuntimeError), artifacts.write(spec) as partial:
        (partial / "data").write_text("half")
        raise RuntimeError("killed")
    assert not artifacts.has(spec)
    assert not list(tmp_path.iterdir())
    with artifacts.write(spec) as partial:
        (partial / "data").write_text("whole")
    assert artifacts.has(spec)
    assert NumberSpec.model_validate_json((artifacts.path(spec) / "spec.json").read_text()) == spec
    assert NumberSpec(number=2).key != spec.key == NumberSpec(number=1).key


def test_a_folder_of_another_version_is_refused_before_anything_runs(
    study: Study, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    folder.results.mkdir(exist_ok=True)
    tables_of(study, folder).check_version()
    write_rows(folder.results / "cell-1.parquet", [], pa.schema([("a", pa.int64())]))
    with pytest.raises(ValueError, match=r"schema version none, not .* another --out"):
        run_study(study, tmp_path)


def test_snrs_alike_in_six_digits_have_names_of_their_own() -> None:
    names = [condition_name("cell-1", snr_db) for snr_db in (10.0, 10.0000001, float("nan"))]
    assert names == ["cell-1_10dB", "cell-1_10.0000001dB", "cell-1"]


def test_a_folder_belongs_to_one_study(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    folder.begin(study)
    assert folder.open() == study
    with pytest.raises(ValueError, match=r"another study \(seeds.* -> .*7.*\); choose another"):
        folder.begin(study.model_copy(update={"seeds": (7,)}))
    more = {"seeds": (*study.seeds, 7), "description": "more", "device": "cuda"}
    grown = study.model_copy(update=more)
    folder.begin(grown)
    assert folder.open() == grown
    with pytest.raises(ValueError, match=r"another study .*seeds"):
        folder.begin(study)
    with pytest.raises(ValueError, match=r"another study \(.*, and \d+ more\); choose another"):
        folder.begin(Study(name="other", task="clevr", data={"miniclevr": {}}, models="pocket"))
    with pytest.raises(ValueError, match="no study in"):
        StudyFolder(tmp_path / "empty").open()


def test_a_searchs_folder_is_no_study_to_resume(tmp_path: Path) -> None:
    """It would train the base study in it, and ask the test questions."""
    study = Study(name="a")
    folder = StudyFolder(tmp_path)
    for _ in range(2):
        folder.begin(study, [study])
    for refused in (folder.open, lambda: folder.begin(study), lambda: folder.check(study)):
        with pytest.raises(ValueError, match=r"holds a search, .*the same 'tokcom study search'"):
            refused()


def test_a_folder_belongs_to_one_version_of_own_code(my_airs: Path, tmp_path: Path) -> None:
    """Else results of earlier code would pass for those of today, or stand beside them."""
    study = Study(name="s", airs=["awgn", {"name": "custom", "class": "my_airs:Nakagami"}])
    folder, file = StudyFolder(tmp_path / "out"), my_airs / "my_airs.py"
    folder.begin(study)
    earlier = file.read_text()
    file.write_text(f"{earlier}# changed\n")
    told = r"my_airs has changed .*; choose another --out, .* remove digests\.json"
    with pytest.raises(ValueError, match=told):
        folder.check(study.model_copy(update={"seeds": (0, 1)}))
    StudyFolder(tmp_path / "other").check(study)
    folder.digests.unlink()
    folder.begin(study)
    file.write_text(earlier)
    with pytest.raises(ValueError, match=told):
        folder.check(study)


def test_a_folder_belongs_to_one_version_of_own_checkpoints_and_scenes(tmp_path: Path) -> None:
    """Else new cells would be of other weights or walls than those beside them."""
    shutil.copytree(pocket_folder() / "language", own := tmp_path / "own")
    (scene := tmp_path / "scene.xml").write_text('<scene><string value="wall.ply"/></scene>')
    (wall := tmp_path / "wall.ply").write_bytes(b"ply")
    study = Study(
        name="s",
        airs=["awgn", {"name": "site", "scene": str(scene), "station_m": [0, 0, 10]}],
        systems={"mlms": {"models": {"language": str(own)}}},
    )
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    for file, name in ((own / "model.safetensors", own), (wall, wall), (scene, scene)):
        earlier = file.read_bytes()
        file.write_bytes(earlier[:-1] + b" ")
        with pytest.raises(ValueError, match=rf"^{name} has changed since .*; choose another"):
            folder.check(study)
        file.write_bytes(earlier)
    folder.check(study)


def test_what_other_code_has_begun_is_not_gone_on_with(my_airs: Path, tmp_path: Path) -> None:
    """Half a training by a method that failed, and half by its fix, would be neither's."""
    folder = StudyFolder(tmp_path / "out")
    folder.begin(Study(name="s"))
    journals = {name: folder.root / "journals" / f"cell-{name}_5dB" for name in "abc"}
    for kept in (folder.root / "checkpoints" / "phase", *journals.values()):
        kept.mkdir(parents=True)
    for name, status in (("a", "ok"), ("b", "failed")):
        pd.DataFrame({"status": [status]}).to_parquet(folder.result(f"cell-{name}"))
    grown = Study(name="s", airs=["awgn", {"name": "custom", "class": "my_airs:Nakagami"}])
    folder.begin(grown)
    assert (folder.root / "checkpoints" / "phase").exists()
    folder.digests.unlink()
    folder.begin(grown)
    assert not (folder.root / "checkpoints").exists()
    assert [name for name, journal in journals.items() if journal.exists()] == ["a"]


@pytest.mark.parametrize(
    "files", [["__init__", "deep/__init__", "deep/of_theirs"], ["deep/of_theirs"]]
)
def test_a_package_of_ones_own_is_one_code(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a folder without ``__init__.py`` as well, which Python imports from, too."""
    package = tmp_path / "their_package"
    (package / "deep").mkdir(parents=True)
    for name in files:
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert module_source("their_package.deep.of_theirs") == package
    names = ["their_package.deep.of_theirs", "their_package"]
    monkeypatch.setattr("studies.plan.digests.modules_of", lambda _: names)
    before = digests_of(Study(name="s"))
    assert list(before) == ["their_package"]
    (package / "deep" / "__init__.py").write_text("answer = 42")
    assert digests_of(Study(name="s")) != before
