"""Starting a process is cheap: what takes seconds to import is imported by those who need it."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("transformers", "peft", "sionna", "tensorflow", "torch._dynamo", "matplotlib")
HEAVY_FOR_HELP = (*HEAVY, "torch", "ray", "pandas", "numpy")


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("tokcom_core.systems", HEAVY),
        ("tokcom_core.tasks", HEAVY),
        ("actors", HEAVY),
        ("studies.plan.loading", HEAVY),
        ("studies.cli.main", HEAVY_FOR_HELP),
    ],
)
def test_what_every_process_imports_is_light(module: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
