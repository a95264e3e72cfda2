"""A rehearsal: the same study in the miniature world, before real checkpoints and a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokcom_core.encoders import encoder_shape
from tokcom_core.zoo import KINDS, POCKET


def rehearsed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys with MiniMUSIC and the pocket checkpoints in the place of its own.

    Token lengths beyond the pocket encoders' are shortened to theirs, and no GPU is asked for; all
    else stays.
    """
    found = dict(raw)
    data, own = found.get("data"), found.get("models")
    minimusic = data.get("minimusic") if isinstance(data, Mapping) else None
    found["data"] = {"minimusic": minimusic or {}}
    models = {**(own if isinstance(own, Mapping) else {}), **dict.fromkeys(KINDS, POCKET)}
    found["models"] = models
    resources = found.get("resources")
    if isinstance(resources, Mapping):
        found["resources"] = {**resources, "gpu": 0.0, "device_gpu": 0.0}
    tokens = found.get("tokens")
    if isinstance(tokens, list | tuple):
        shortened = [_shortened(budget, models.get("slide") == "all") for budget in tokens]
        found["tokens"] = [t for i, t in enumerate(shortened) if t not in shortened[:i]]
    elif tokens is not None:
        found["tokens"] = _shortened(tokens, models.get("slide") == "all")
    return found


def _shortened(budget: Any, with_summary: bool) -> Any:
    if not isinstance(budget, Mapping):
        return budget  # refused where budgets are validated
    found = dict(budget)
    for modality in ("audio", "vision"):
        shape = encoder_shape(POCKET, modality)
        longest = shape.length - (0 if with_summary else shape.summary_tokens)
        if isinstance(found.get(modality), int):
            found[modality] = min(found[modality], longest)
    return found
