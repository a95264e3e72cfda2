"""Cells that a study had before it grew, and that its present cells replace."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .artifact_spec import digest
from .cells import Plan
from .specs import Cell

_SNRS = ("eval_snr_db", "eval_air_snr_db")
"""Keys of a cell's config with a value for each evaluated SNR."""
_LENGTHS = ("tokens", "any_tokens")
"""Keys of a phase that change where one network is trained for more token lengths."""


def outgrown(
    plan: Plan, configs: Mapping[str, str], measured: Collection[str] | None = None
) -> set[str]:
    """Names of those configs whose cells the study had before it grew.

    A present cell replaces an old one if they differ only in what growth changes: more evaluated
    SNRs, more token lengths of one network, another first bandwidth or number of bits, or another
    learning rate, chosen by more seeds.

    Args:
        plan: The study as it is now.
        configs: JSON of cells that it does not have, by name.
        measured: Keys of the present cells that count; by default all that it may have.
    """
    today: dict[str, set[Any]] = {}
    for alike in _possible(plan):
        if measured is not None and not any(cell.key in measured for cell in alike):
            continue
        for cell in alike:
            config = json.loads(cell.model_dump_json())
            today.setdefault(_lasting(config), set()).update(config["eval_snr_db"])
    found = set()
    for name, text in configs.items():
        config = json.loads(text)
        now = today.get(_lasting(config))
        if now is not None and now.issuperset(config["eval_snr_db"]):
            found.add(name)
    return found


def _possible(plan: Plan) -> Iterable[tuple[Cell, ...]]:
    """All cells that a study may have, each at every learning rate that may be chosen."""
    for contender in plan.contenders:
        rates = contender.system.learning_rates
        at_rates = (plan.cells_of(contender, r) for r in (rates if len(rates) > 1 else (None,)))
        yield from zip(*at_rates, strict=True)
    yield from ((found.cell,) for found in plan.infeasible())


def _lasting(config: Mapping[str, Any]) -> str:
    """Name of a cell by what stays the same while its study grows.

    The bandwidth of a reference is left out: it is the study's first one, and since the air has no
    noise, only the airtime depends on it.
    """
    trained = config.get("trained") or {}
    tested = config.get("tokens") or trained.get("tokens")
    crossing = _lasting_crossing(config.get("crossing") or {})
    kept = {name: value for name, value in config.items() if name not in _SNRS}
    if config.get("reference") is not None:
        kept["bandwidth_hz"] = None
        crossing = {**crossing, "link": None}
    phase = _lasting_phase(trained)
    return digest({**kept, "tokens": tested, "trained": phase, "crossing": crossing})


def _lasting_phase(phase: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in phase.items() if name not in _LENGTHS}
    parent, crossing = phase.get("parent"), phase.get("crossing")
    return {
        **kept,
        "parent": None if parent is None else _lasting_phase(parent),
        "crossing": None if crossing is None else _lasting_crossing(crossing),
    }


def _lasting_crossing(crossing: Mapping[str, Any]) -> dict[str, Any]:
    """A crossing without the bits of a value if it sends no packets: they are the study's first."""
    air = crossing.get("air") or {}
    if not air.get("digital") or "digital" in (crossing.get("transport") or {}).values():
        return dict(crossing)
    return {**crossing, "air": {**air, "digital": {**air["digital"], "bits": None}}}
