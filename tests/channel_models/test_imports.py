"""Sionna, which takes seconds to import, is imported by those who need it and leaves no trace."""

from __future__ import annotations

import subprocess
import sys

import pytest


def _said(code: str) -> str:
    """What another process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import channel_models",
        "from channel_models import Frame, Members, normalise, spawn_seed, mean_db, Link, Overhead",
        "from channel_models import Link, named_air\n"
        "for name in ('awgn', 'rayleigh', 'rician'):\n"
        "    named_air(name).build(Link(), 3.0)",
    ],
)
def test_sionna_is_imported_only_where_it_is_needed(code: str) -> None:
    assert _said(f"{code}\nimport sys\nprint('sionna' in sys.modules)") == "False"


def test_importing_sionna_leaves_torchs_generator_as_it_was() -> None:
    """In the middle of whatever a caller has seeded."""
    code = (
        "import sys, torch\n"
        "from channel_models import Link, named_air\n"
        "torch.manual_seed(1)\n"
        "expected = torch.rand(3)\n"
        "torch.manual_seed(1)\n"
        "named_air('tdl-a').build(Link(), 3.0)\n"
        "print('sionna' in sys.modules, torch.equal(torch.rand(3), expected))"
    )
    assert _said(code) == "True True"
