"""Parameters of both sides of TaiChi: their names in files, and which of them learn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import safe_open
from torch import nn

from ...storage import check_names, check_shapes


def named_weights(module: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by names that do not depend on whether there is an adapter around them."""
    return {name.replace(".base_layer", ""): p for name, p in module.named_parameters()}


def require(module: nn.Module, wanted: Iterable[nn.Parameter]) -> None:
    """Lets gradients reach these parameters of a module and no others."""
    ids = {id(p) for p in wanted}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in ids)


def load_weights(file: Path, wanted: Mapping[str, nn.Parameter]) -> tuple[set[str], set[str]]:
    """Loads those of the ``wanted`` parameters that a file holds.

    Returns:
        Names of these parameters, and all other names in the file.

    Raises:
        OtherWeightsError: for weights of another shape.
    """
    with safe_open(file, "pt") as stored:
        names = set(stored.keys())
        found = names & set(wanted)
        for name in found:
            saved = stored.get_tensor(name)
            check_shapes({name: saved}, wanted)
            wanted[name].data.copy_(saved)
    return found, names - found


def check_loaded(wanted: Iterable[str], found: Iterable[str], others: Iterable[str]) -> None:
    """Raises ValueError for foreign weights, and for weights that are wanted but not found.

    A channel codec or an adapter may be missing as a whole: the phase before may have had none.
    """
    had = {_begun(name) for name in found}
    needed = {name for name in wanted if _begun(name) is None or _begun(name) in had}
    check_names({*found, *others}, needed)


def _begun(name: str) -> str | None:
    """The part that a weight belongs to, if that part begins in a later phase; None otherwise."""
    if "lora_" in name:
        return "lora"
    side = name.partition(".")[0]
    return side if side in ("encoder", "decoder") else None


def is_language(name: str) -> bool:
    """Whether a parameter belongs to the language model, which both sides have."""
    return name.startswith("language.")
