"""Methods: a system with some of its settings, and the transport of its streams."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_serializer, model_validator

from ..config import CUSTOM, Config
from .streams import Stream, Transport

OWN_KEYS = ("label", "system", "transport", "train_tokens")
"""Keys of a method itself, which no system can have."""

TrainTokens = Literal["matched", "any"]
"""Token lengths that a method is trained at. ``matched``: each token length that it is evaluated at
has a network of its own. ``any``: one network serves all token lengths of the study, and every
training step draws one of them."""


class Method(Config):
    """One method of a study: a short name, or a mapping with ``system`` or a short name.

    ``{name: aligned, transport: {question: file}}`` starts from a short name,
    ``{system: mlms, alignment: contrastive}`` from a system; other keys are those of the
    system.

    Attributes:
        label: Name in tables; by default its keys in short form.
        system: Name of the system; ``custom`` needs ``class``, too.
        transport: Transport of streams by name, or of all ``media`` or ``texts`` at once;
            ``analog`` by default.
        train_tokens: Token lengths that it is trained at, see :data:`TrainTokens`.
        settings: Keys of the system, on top of those that the study has for it.
    """

    label: str = Field(min_length=1)
    system: str
    transport: dict[str, Transport] = Field(default={})
    train_tokens: TrainTokens = "matched"
    settings: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, raw: Any) -> Any:
        if isinstance(raw, str):
            return _known(raw)
        if not isinstance(raw, Mapping):
            return raw
        keys = dict(raw)
        if "name" in keys:
            name = keys.pop("name")
            known = _known(name)
            if keys.get("system", known["system"]) != known["system"]:
                raise ValueError(
                    f"{name!r} is a method of system {known['system']!r}, not {keys['system']!r}; "
                    "leave one of name and system out"
                )
            label = keys.pop("label", _label(known["label"], keys))
            start = {key: known[key] for key in ("system", "transport")}
            keys = {**merged({**start, **known["settings"]}, keys), "label": label}
        elif "system" in keys:
            others = {key: value for key, value in keys.items() if key not in ("system", "label")}
            keys.setdefault("label", _label(str(keys["system"]), others))
        else:
            raise ValueError("a method needs 'name', one of the short names, or 'system'")
        settings = {key: value for key, value in keys.items() if key not in OWN_KEYS}
        return {**{key: keys[key] for key in OWN_KEYS if key in keys}, "settings": settings}

    @model_serializer
    def _short(self) -> Any:
        """The shortest equivalent form: the short name alone if nothing else is set."""
        if self.label in SHORT_NAMES and self == Method.model_validate(self.label):
            return self.label
        short: dict[str, Any] = {"label": self.label, "system": self.system}
        if self.transport:
            short["transport"] = self.transport
        if self.train_tokens != "matched":
            short["train_tokens"] = self.train_tokens
        return {**short, **self.settings}


def _label(start: str, keys: Mapping[str, Any]) -> str:
    """A label such as ``mlms alignment=contrastive transport.question=file``."""
    return " ".join([start, *(f"{key}={value}" for key, value in flattened(keys).items())])


def flattened(keys: Mapping[str, Any], place: str = "") -> dict[str, Any]:
    """Nested keys joined by dots: ``{"alignment.steps": 3}``; each begins with ``place``."""
    flat: dict[str, Any] = {}
    for key, value in keys.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{place}{key}.")
        else:
            flat[place + key] = value
    return flat


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Merges one mapping over another, recursively.

    A nested mapping with another ``name`` replaces the one that it lies over.
    """
    both = {**under, **over}
    for key in under.keys() & over.keys():
        below, above = under[key], over[key]
        if isinstance(below, Mapping) and isinstance(above, Mapping):
            same = above.get("name", below.get("name")) == below.get("name")
            both[key] = merged(below, above) if same else dict(above)
    return both


def _known(name: Any) -> dict[str, Any]:
    if name not in SHORT_NAMES:
        raise ValueError(
            f"no method {name!r}; take some of {', '.join(SHORT_NAMES)}, or a mapping with 'system'"
        )
    return {"label": name, **SHORT_NAMES[name]}


STREAM_KINDS = ("media", "texts")
"""Keys of a ``transport`` that stand for all streams with a medium, and for all without one."""


def transport_of(stream: Stream, transport: Mapping[str, Transport]) -> Transport | None:
    """The transport that a method gives a stream, by its name or else its kind; None if neither."""
    kind = STREAM_KINDS[stream.medium is None]
    return transport.get(stream.name, transport.get(kind))


SHORT_NAMES: dict[str, dict[str, Any]] = {}
"""Methods by short name: ``system``, ``transport`` and ``settings``; see :data:`System.METHODS`."""

SUMMARIES: dict[str, str] = {}
"""Summary of each method, by short name."""


def register(system: str, methods: Mapping[str, Mapping[str, Any]]) -> None:
    """Adds a system's short names."""
    assert system != CUSTOM
    for name, keys in methods.items():
        assert name not in SHORT_NAMES, f"two methods are called {name}"
        rest = {key: value for key, value in keys.items() if key not in ("summary", "transport")}
        SUMMARIES[name] = str(keys["summary"])
        SHORT_NAMES[name] = {
            "system": system,
            "transport": dict(keys.get("transport", {})),
            "settings": rest,
        }
