"""What the docs hand out can be used as it is."""

from __future__ import annotations

import json
from pathlib import Path

import kubernetes_validate
import ray
import yaml
from jsonschema import Draft7Validator
from ray.autoscaler._private.kuberay.autoscaling_config import (
    _derive_autoscaling_config_from_ray_cr,
)

from studies.plan.study import Study

DOCS = Path(__file__).parents[2] / "docs"


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


def test_study_keys_in_the_docs_are_keys() -> None:
    """Every YAML block with keys of a study."""
    found = 0
    for page in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        for block in page.read_text().split("```yaml\n")[1:]:
            keys = yaml.safe_load(block.split("```")[0])
            Study(**{"name": "example", **keys})
            found += 1
    assert found >= 4
