"""What every system keeps, as tests to inherit; needs pytest.

Whoever has written a system proves it in a test file of their own::

    from actors.testing import SplitContract
    from tokcom_core.testing import SystemCase, SystemContract

    class TestMine(SystemContract, SplitContract):
        @pytest.fixture(scope="class")
        def case(self, tmp_path_factory):
            folder = tmp_path_factory.mktemp("case")
            return SystemCase.prepare(Mine(), Avqa(), {"audio": 4}, data_folder, folder)

:class:`SystemContract` is about both sides as they are; :class:`actors.testing.SplitContract` about
what devices, an air and a base station make of them.
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
