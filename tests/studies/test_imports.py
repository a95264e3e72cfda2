"""Starting a process is cheap: what takes seconds to import is imported by those who need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("transformers", "peft", "sionna", "tensorflow", "torch._dynamo", "matplotlib")


@pytest.mark.parametrize(
    "module", ["tokcom_core.systems", "tokcom_core.tasks", "actors", "studies.plan.loading"]
)
def test_what_every_process_imports_is_light(module: str) -> None:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
