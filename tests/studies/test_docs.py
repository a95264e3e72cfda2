"""What the docs hand out can be used as it is."""

from __future__ import annotations

import json
import re
import shlex
from importlib import import_module
from itertools import combinations
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

import kubernetes_validate
import pytest
import ray
import typer
import yaml
from jsonschema import Draft7Validator
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)

import studies
from actors import EmulationConfig, Faults
from channel_models import Link, named_air
from studies.cli import running
from studies.cli.main import app
from studies.plan.differences import differences
from studies.plan.loading import load, presets
from studies.plan.overrides import overrides_of
from studies.plan.search import search_of
from studies.plan.study import Study
from studies.tables.columns import ReferenceColumn, TableLayout
from studies.tables.layout import layout_of
from tokcom_core.datasets.annotations import QUESTION_TYPES
from tokcom_core.datasets.samples import REQUIRED
from tokcom_core.systems import SHORT_NAMES, SUMMARIES
from tokcom_core.tasks import Avqa
from tokcom_core.tasks.instructions import COLUMNS

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]
PAGES.remove(DOCS / "extending.md")  # test_extending.py runs what stands there
OF_AN_AIR = re.compile(r"tokcom air [^`]*")
SET = re.compile(r"""--set\s+(?:"([^"]+)"|([^\s`"=]+=[^\s`|)]+))""")


def test_the_cluster_file_keeps_rays_schema() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster = yaml.safe_load((DOCS / "cluster" / "ray-up.yaml").read_text())
    complaints = Draft7Validator(json.loads(schema.read_text())).iter_errors(cluster)
    assert [complaint.message for complaint in complaints] == []


def test_the_kuberay_manifest_is_read_by_ray_and_kubernetes() -> None:
    """Ray's own reader makes an autoscaling config of it; its pods are pods."""
    cluster = yaml.safe_load((DOCS / "cluster" / "kuberay.yaml").read_text())
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    types = config["available_node_types"]
    assert {name: kind["resources"]["CPU"] for name, kind in types.items()} == {
        "headgroup": 4,
        "workers": 8,
    }
    assert (types["workers"]["min_workers"], types["workers"]["max_workers"]) == (0, 8)
    spec = cluster["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, **group["template"]}
        kubernetes_validate.validate(pod, "1.30", strict=True)


@pytest.mark.usefixtures("my_airs")
def test_study_keys_in_the_docs_are_keys() -> None:
    """Every YAML block with keys of a study; classes of one's own have tests beside them."""
    found = 0
    for page in PAGES:
        for block in page.read_text().split("```yaml\n")[1:]:
            text = block.split("```")[0]
            if "class:" in text:
                continue
            Study(**{"name": "example", **yaml.safe_load(text)})
            found += 1
    assert found >= 4


def test_what_the_docs_set_can_be_set(tmp_path: Path) -> None:
    """Every ``--set key=value`` of a study's command, in a study of either paper."""
    file = tmp_path / "example.yaml"
    file.write_text("{name: example, deadline_ms: 5}")
    texts = [OF_AN_AIR.sub("", page.read_text()) for page in PAGES]
    pairs = [pair for text in texts for pair in SET.findall(text)]
    overrides = {" ".join((quoted or plain).split()) for quoted, plain in pairs} - {"a.b=value"}
    unset = "tokens=[{}]"  # of methods whose token lengths are not the study's
    overrides.remove(unset)
    load("taichi-fig10", ["methods=[deepsc]", "claims=[]", unset])
    images = re.compile(r"terminal:|systems\.(taichi|\w*deepsc\w*)")
    for override in sorted(overrides):
        load("taichi-fig10" if images.search(override) else file, (override,))
    assert len(overrides) >= 20


def _commands(page: Path) -> list[list[str]]:
    """Words of each command of a page: lines of its shell blocks, and code in its sentences."""
    text = page.read_text()
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    spans = re.findall(r"(?<!`)`(tokcom [^`]+)`(?!`)", text)
    told = [line[line.find("tokcom ") :] for line in (*lines, *spans) if "tokcom " in line]
    return [shlex.split(command, comments=True) for command in told]


def _runs_a_preset(words: list[str]) -> bool:
    return words[1] == "emulate" or (
        words[1:3] == ["study", "run"] and words[-1] != "run" and words[3] in presets()
    )


def test_no_two_commands_of_the_docs_put_different_studies_into_one_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: dict[str, list[Study]] = {}
    monkeypatch.setattr(
        running, "run_and_print", lambda study, out, address: ran.setdefault(out, []).append(study)
    )
    command = typer.main.get_command(app)
    for page in PAGES:
        for words in _commands(page):
            if _runs_a_preset(words):
                command.main(words[1:], standalone_mode=False)
    assert len(ran["studies_out/quickstart"]) >= 3
    for out, every in ran.items():
        for one, other in combinations(every, 2):
            assert not differences(one, other) or not differences(other, one), out


def test_what_the_docs_search_over_can_be_searched() -> None:
    texts = {own for page in PAGES for own in re.findall(r'--over "([^"]+)"', page.read_text())}
    assert len(texts) >= 3
    over = {change.key: change.value for change in overrides_of(sorted(texts))}
    search_of(method="aligned", over=over).base(Study(name="example"))


def test_data_of_ones_own_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "own_data.md").read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    samples = names["samples"]
    assert samples["question"] == ("Is there a machine at the left?",)
    assert (samples.answer, samples.media_id) == (("yes",), ("shift-2",))
    task = Avqa()
    assert task.samples(tmp_path / "factory", "align")["caption"] == ("a press at the left",)
    assert task.identity(tmp_path / "factory").startswith("folder-")
    assert samples.group[0] in task.groups


def test_the_question_types_of_ones_own_data_are_all_there() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (`.*`) \|$", (DOCS / "own_data.md").read_text(), re.MULTILINE
    )
    told = [(first, second) for first, cell in rows for second in re.findall(r"`(\w+)`", cell)]
    assert sorted(told) == sorted(QUESTION_TYPES)


def test_measured_channels_are_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "airs.md").read_text(), re.DOTALL)
    exec(block, {})
    air = named_air("recorded", file="measured.parquet")
    air.build(Link(), snr_db=10.0)
    assert not air.sets_snr


def test_every_method_is_on_the_page_of_studies_as_the_list_tells_it() -> None:
    section = (DOCS / "studies.md").read_text().split("\n## Methods\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| (.*) \|$", section, re.MULTILINE)
    told = [(name, SHORT_NAMES[name]["system"], what) for name, what in SUMMARIES.items()]
    assert rows == told


def _columns(table: str) -> list[str]:
    """Columns of a table that docs/tables.md explains, each the first cell of a row."""
    section = (DOCS / "tables.md").read_text().split(f"\n## `{table}`\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_column_of_every_table_is_explained() -> None:
    """Those that follow from what is studied under a placeholder, as the page says."""
    layout = TableLayout(
        devices=("DEVICE",),
        losses=("LOSS",),
        swept_devices=("DEVICE",),
        groups=("GROUP",),
        metrics=("METRIC",),
        references=(ReferenceColumn("REFERENCE", "lower"),),
        streams=("STREAM",),
    )
    assert sorted(_columns("results")) == sorted(layout.results.names)
    assert sorted(_columns("answers")) == sorted(layout.answers.names)
    assert sorted(_columns("devices")) == sorted(layout.devices_table.names)
    losses = {*layout_of(Study(name="paper-1")).losses, *layout_of(load("taichi")).losses}
    assert set(_columns("curves")) >= {*layout.curves.names, *losses}
    samples = {*REQUIRED, *Avqa.texts, Avqa.prior, *COLUMNS}
    assert set(_columns("samples")) >= samples


def _told_defaults() -> dict[str, str]:
    """Defaults by key, of the table of docs/emulation.md; keys of one cell share its prefix."""
    table = (DOCS / "emulation.md").read_text().split("\n| key | default |")[1].split("\n\n")[0]
    found: dict[str, str] = {}
    for cell, told in re.findall(r"^\| (`.*?) \| (.*?) \|", table, re.MULTILINE):
        keys = re.findall(r"`([\w.]+)`", cell)
        prefix = keys[0].rpartition(".")[0]
        defaults = told.replace("`", "").split(", ")
        if len(defaults) < len(keys):
            defaults *= len(keys)
        names = [prefix + key if key.startswith(".") else key for key in keys]
        found |= dict(zip(names, defaults, strict=True))
    return found


def test_the_defaults_of_an_emulation_are_those_that_the_page_tells() -> None:
    told = _told_defaults()
    assert told.keys() == (EmulationConfig.model_fields.keys() - {"faults"}) | {
        f"faults.{name}" for name in Faults.model_fields
    }
    assert told.pop("pools").startswith("one for every")  # which the run works out
    assert told.pop("missing_prob") == "none"  # no device is missing
    own = EmulationConfig()
    for key, default in told.items():
        assert attrgetter(key)(own) == (None if default == "none" else yaml.safe_load(default)), key


def _named(module: ModuleType, name: str) -> Any:
    """What ``Class.method`` names in a module."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part)
    return found


def test_what_implements_an_equation_is_where_the_page_says() -> None:
    page = (DOCS / "equations.md").read_text()
    links = re.findall(r"\[`([\w.]+)`\]\(\.\./([\w/]+)\.py\)", page)
    assert len(links) == page.count("](../")
    for name, path in links:
        assert callable(_named(import_module(path.replace("/", ".")), name)), (name, path)


@pytest.mark.parametrize(("paper", "equations"), [("Paper 1", 18), ("TaiChi", 17)])
def test_every_equation_has_a_row(paper: str, equations: int) -> None:
    section = (DOCS / "equations.md").read_text().split(f"\n## {paper}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| \((\d+)\)(?: to \((\d+)\))? \|", section, re.MULTILINE)
    found = [n for first, last in rows for n in range(int(first), int(last or first) + 1)]
    assert found == list(range(1, equations + 1))


def test_no_page_has_the_name_of_one_that_sphinx_makes() -> None:
    """Sphinx writes its own over it, without a word."""
    assert not {page.stem for page in DOCS.glob("*.md")} & {"genindex", "modindex", "search"}


def test_every_public_name_of_studies_is_in_the_reference() -> None:
    page = (DOCS / "api" / "studies.md").read_text()
    assert set(re.findall(r"studies\.(\w+)$", page, re.MULTILINE)) == set(studies.__all__)
