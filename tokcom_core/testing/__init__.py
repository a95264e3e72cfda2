"""The contract that every system keeps, as tests to inherit; needs pytest.

The author of a system inherits the tests in a test file::

    from actors.testing import SplitContract
    from tokcom_core.testing import SystemCase, SystemContract

    class TestMine(SystemContract, SplitContract):
        @pytest.fixture(scope="class")
        def case(self, tmp_path_factory):
            folder = tmp_path_factory.mktemp("case")
            return SystemCase.prepare(Mine(), Avqa(), {"audio": 4}, data_folder, folder)

:class:`SystemContract` tests the two sides of the system directly;
:class:`actors.testing.SplitContract` tests them as run by devices, an air and a base station.
"""

from .case import MAX_ANSWER_TOKENS, ROWS, SystemCase, Unsplit, handed_over
from .contract import SystemContract

__all__ = [
    "MAX_ANSWER_TOKENS",
    "ROWS",
    "SystemCase",
    "SystemContract",
    "Unsplit",
    "handed_over",
]
