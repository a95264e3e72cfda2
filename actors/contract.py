"""Checks of what transmitters, receivers and tasks return to devices and the base station.

Only shapes and types are checked, and no tensor is read, so that a step takes no longer. Systems of
the package are tested for all of this. A system from outside gets a clear error here, before
tokcom's own code stumbles over its mistake.
Shapes: ``B`` samples of a batch, ``N`` complex symbols of a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from tokcom_core.systems import Feedback, Phase, Predictions, Stream
from tokcom_core.tasks import Task

P = TypeVar("P", bound=nn.Module)


def checked_part(system: object, method: str, given: Any, kind: type[P]) -> P:
    """Returns what a system's method has built for a device or the base station.

    Raises:
        ValueError: if it is not of the expected kind, or trains a batch normalisation, whose
            running statistics are no weights: they are neither saved nor averaged over users.
    """
    name = f"{type(system).__name__}.{method}"
    if not isinstance(given, kind):
        raise ValueError(f"{name} should give a {kind.__name__}, gave {shown(given)}")
    for path, module in given.named_modules():
        if getattr(module, "running_mean", None) is None:
            continue
        if any(weight.requires_grad for weight in module.parameters()):
            raise ValueError(
                f"{name}: {path} is a {type(module).__name__}, whose running statistics are not "
                "saved with the weights; take a LayerNorm or GroupNorm, or freeze it"
            )
    return given


def checked_symbols(
    source: object, method: str, stream: Stream, samples: int, given: Any
) -> tuple[Tensor, Tensor]:
    """Returns a stream's symbols, complex64 ``[B, N]``, and which are valid, bool ``[B, N]``.

    Args:
        source: Transmitter that gave them.
        method: Name of its method.
        stream: Stream that the symbols belong to.
        samples: Number of samples, B.
        given: What the method returned.

    Raises:
        ValueError: if it returned anything else.
    """
    name = f"{type(source).__name__}.{method} of stream {stream.name!r}"
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise ValueError(f"{name} should give symbols and which are valid, gave {shown(given)}")
    symbols, valid = given
    sent = isinstance(symbols, Tensor) and symbols.dim() == 2
    uses = symbols.shape[1] if sent else stream.max_tokens * stream.symbols_per_token
    for dtype, tensor in ((torch.complex64, symbols), (torch.bool, valid)):
        proper = isinstance(tensor, Tensor) and tensor.dtype == dtype
        if not proper or tensor.shape != (samples, uses):
            raise ValueError(
                f"{name} should give {_kind(dtype)} [{samples}, {uses}], gave {shown(tensor)}"
            )
    if uses % stream.symbols_per_token:
        raise ValueError(
            f"{name} should give {stream.symbols_per_token} symbols of each token, gave {uses} in "
            "all"
        )
    return symbols, valid


def checked_losses(receiver: object, phase: Phase, given: Any) -> Mapping[str, Tensor]:
    """Returns the losses of a step: scalars by name; none if nothing arrived.

    Raises:
        ValueError: for anything else, for a loss that :attr:`Phase.losses` does not name, or if
            all losses are detached, so that nothing is trained.
    """
    name = f"{type(receiver).__name__}.losses in phase {phase.name!r}"
    if not isinstance(given, Mapping):
        raise ValueError(f"{name} should give tensors by name, gave {shown(given)}")
    for key, loss in given.items():
        if key not in phase.losses:
            known = ", ".join(phase.losses)
            raise ValueError(f"{name} gives {key!r}, but Phase.losses has {known}; add it there")
        if not (isinstance(loss, Tensor) and loss.dim() == 0):
            raise ValueError(f"{name} should give {key!r} as a scalar tensor, gave {shown(loss)}")
    if given and not any(loss.requires_grad for loss in given.values()):
        raise ValueError(f"{name} gives nothing to train: every loss is detached")
    return given


def checked_answers(receiver: object, samples: int, given: Any) -> Predictions | Feedback:
    """Returns answers, with a text and a first token for each sample, or feedback.

    Raises:
        ValueError: if the receiver gave anything else.
    """
    name = f"{type(receiver).__name__}'s answers"
    if isinstance(given, Feedback):
        return given
    if not isinstance(given, Predictions):
        raise ValueError(f"{name} should be Predictions or Feedback, not {shown(given)}")
    for part in ("texts", "first_token"):
        if (count := len(getattr(given, part))) != samples:
            raise ValueError(
                f"{name} should have {samples} {part}, one of each sample, not {count}"
            )
    for text in given.texts:
        if not isinstance(text, str):
            raise ValueError(f"{name} should be texts, not {shown(text)}")
    return given


def checked_scores(task: Task, samples: int, given: Iterable[Any]) -> tuple[float, ...]:
    """Returns one score for each answer.

    Raises:
        ValueError: for more or fewer scores, or a score that is not a number.
    """
    name, scores = f"{type(task).__name__}.scores", tuple(given)
    if len(scores) != samples:
        raise ValueError(
            f"{name} should give {samples} scores, one of each answer, gave {len(scores)}"
        )
    for score in scores:
        if not isinstance(score, Real):
            raise ValueError(f"{name} should give numbers, gave {shown(score)}")
    return scores


def shown(value: object) -> str:
    """Describes a value: a tensor as ``float32 [8, 256]``, anything else by its type.

    Each item of a tuple or list is described.
    """
    if isinstance(value, Tensor):
        return f"{_kind(value.dtype)} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(shown, value))})"
    return "None" if value is None else type(value).__name__


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
