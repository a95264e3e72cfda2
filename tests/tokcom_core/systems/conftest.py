"""Cases of paper 1's system and of TaiChi, which the tests of their subjects share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tokcom_core.systems import Phase
from tokcom_core.systems.mlms import Mlms
from tokcom_core.systems.taichi import Taichi
from tokcom_core.tasks import Avqa
from tokcom_core.testing import SystemCase

from ..pictures import Pictures, write_models, write_pictures

MLMS_TOKENS = {"audio": 6, "vision": 6}
TAICHI_TOKENS = {"terminal": 9}
CaseOf = Callable[..., SystemCase]


@pytest.fixture(scope="module")
def mlms_case_of(tokens: dict[str, dict[str, Path]]) -> CaseOf:
    """The system with some keys, on the shared tokens."""

    def build(**keys: Any) -> SystemCase:
        system = Mlms.model_validate({"caption_tokens": 64, **keys})
        budgets = {name: MLMS_TOKENS[name] for name in system.swept_devices(Avqa())}
        features = {name: {name: tokens[name]} for name in (*budgets, "text")}
        return SystemCase(system, Avqa(), budgets, tokens["samples"], features)

    return build


@pytest.fixture(scope="session")
def taichi_case_of(tmp_path_factory: pytest.TempPathFactory) -> CaseOf:
    """The system with some keys, on shared data, tokens and models."""
    root = write_pictures(tmp_path_factory.mktemp("data"))
    models = write_models(tmp_path_factory.mktemp("models"))
    folder = tmp_path_factory.mktemp("case")

    def system(**keys: Any) -> Taichi:
        return Taichi.model_validate({"models": models, "transmitter_layers": 1, **keys})

    shared = SystemCase.prepare(system(), Pictures(), TAICHI_TOKENS, root, folder)

    def build(**keys: Any) -> SystemCase:
        own = system(**keys)
        tokens = {name: TAICHI_TOKENS[name] for name in own.swept_devices(shared.task)}
        features = shared.features if tokens else {}
        return SystemCase(own, shared.task, tokens, shared.samples, features)

    return build


def phase_of(case: SystemCase, name: str) -> Phase:
    """A case's phase by its name."""
    return next(phase for phase in case.phases if phase.name == name)
