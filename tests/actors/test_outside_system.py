"""The contracts of systems, inherited by one from outside: the example of docs/extending.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from actors.testing import SplitContract
from tokcom_core.testing import SystemCase, SystemContract

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def beacons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with ``beacons.py``, the code of the page."""
    folder = tmp_path_factory.mktemp("beacons")
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "beacons.py").write_text("\n".join(blocks))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("beacons", None)


class TestRadars(SystemContract, SplitContract):
    """Three phases, one of which does not cross the air, and another that trains no device."""

    @pytest.fixture(scope="class")
    def case(self, beacons: Path) -> SystemCase:
        own = import_module("beacons")
        own.write_beacons(beacons / "data", scenes=8)
        return SystemCase.prepare(
            own.Radars(), own.Beacons(), {"left": 4, "right": 4}, beacons / "data", beacons
        )
