"""YAML of study files and overrides, without what YAML takes in silence."""

from __future__ import annotations

import re
from typing import Any

import yaml

_TEXT, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_BOOL = "tag:yaml.org,2002:bool"


class _StrictLoader(yaml.SafeLoader):
    """Refuses keys that are there twice, or that YAML reads as something else than text.

    As in YAML 1.2, only true and false are booleans; yes, no, on and off are text, which a key that
    takes a boolean understands as well, but one that takes a number does not.
    """

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for i, key in enumerate(keys):
            if (key.tag, key.value) in [(before.tag, before.value) for before in keys[:i]]:
                raise _refusal(key, "is there twice")
            if key.tag not in (_TEXT, _MERGE):
                kind = key.tag.rpartition(":")[2]
                raise _refusal(key, f"is a YAML {kind}; keys are text: put it into quotes")
        return node


_StrictLoader.yaml_implicit_resolvers = {
    start: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(
    _BOOL, re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _refusal(key: yaml.ScalarNode, what: str) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, f"key {key.value!r} {what}", key.start_mark)


def parse(text: str) -> Any:
    """The value of a text.

    Raises:
        yaml.YAMLError: for text that is not YAML, a key that is there twice, or one that is no text
            to YAML, such as ``true`` or ``1``.
    """
    return yaml.load(text, _StrictLoader)


def parse_option(text: str, said: str) -> Any:
    """The value that an option gives.

    Args:
        text: The value as YAML.
        said: The option as it was given, which messages begin with.

    Raises:
        ValueError: in one line, where :func:`parse` refuses the text.
    """
    try:
        return parse(text)
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or ""
        reason = f": {problem}" if problem.startswith("key ") else ""
        raise ValueError(f"{said}: the value is not YAML{reason}") from None
