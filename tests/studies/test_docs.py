"""What the docs hand out can be used as it is."""

from __future__ import annotations

import json
from pathlib import Path

import ray
import yaml
from jsonschema import Draft7Validator

from studies.study import Study

DOCS = Path(__file__).parents[2] / "docs"


def test_the_cluster_file_keeps_rays_schema() -> None:
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    cluster = yaml.safe_load((DOCS / "cluster" / "ray-up.yaml").read_text())
    complaints = Draft7Validator(json.loads(schema.read_text())).iter_errors(cluster)
    assert [complaint.message for complaint in complaints] == []


def test_study_keys_in_the_docs_are_keys() -> None:
    """Every YAML block with keys of a study."""
    found = 0
    for page in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        for block in page.read_text().split("```yaml\n")[1:]:
            keys = yaml.safe_load(block.split("```")[0])
            Study(**{"name": "example", **keys})
            found += 1
    assert found >= 4
