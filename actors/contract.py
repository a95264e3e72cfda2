"""What transmitters, receivers and tasks should give, checked where devices and station get it.

Shapes and types alone, so that a step takes no longer: no tensor is read. A system of the package
passes its tests; one from outside is told here what tokcom's own code would stumble over later.
Shapes: ``B`` samples of a batch, ``N`` complex symbols of a stream.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any, TypeVar

import torch
from torch import Tensor

from tokcom_core.systems import Feedback, Phase, Predictions, Stream
from tokcom_core.tasks import Task

P = TypeVar("P")


def checked_part(system: object, method: str, found: Any, kind: type[P]) -> P:
    """What a system's method builds for a device or the base station.

    Raises:
        ValueError: if it is nothing of its kind.
    """
    if not isinstance(found, kind):
        raise ValueError(
            f"{type(system).__name__}.{method} should give a {kind.__name__}, gave {shown(found)}"
        )
    return found


def checked_symbols(
    source: object, method: str, stream: Stream, samples: int, found: Any
) -> tuple[Tensor, Tensor]:
    """Symbols complex64 ``[B, N]`` of a stream and which are valid, bool ``[B, N]``.

    Args:
        source: Transmitter.
        method: Its method.
        stream: Stream that they are of.
        samples: Number of samples, B.
        found: What the method gave.

    Raises:
        ValueError: if it is something else.
    """
    name = f"{type(source).__name__}.{method} of stream {stream.name!r}"
    if not (isinstance(found, tuple | list) and len(found) == 2):
        raise ValueError(f"{name} should give symbols and which are valid, gave {shown(found)}")
    symbols, valid = found
    sent = isinstance(symbols, Tensor) and symbols.dim() == 2
    uses = symbols.shape[1] if sent else stream.max_tokens * stream.symbols_per_token
    for wanted, own in ((torch.complex64, symbols), (torch.bool, valid)):
        proper = isinstance(own, Tensor) and own.dtype == wanted
        if not proper or own.shape != (samples, uses):
            raise ValueError(
                f"{name} should give {_kind(wanted)} [{samples}, {uses}], gave {shown(own)}"
            )
    if uses % stream.symbols_per_token:
        raise ValueError(
            f"{name} should give {stream.symbols_per_token} symbols of each token, gave {uses} in "
            "all"
        )
    return symbols, valid


def checked_losses(receiver: object, phase: Phase, found: Any) -> Mapping[str, Tensor]:
    """Losses of a step: scalars by name, some of which are trained; none if nothing arrived.

    Raises:
        ValueError: for anything else, or a loss that :attr:`Phase.losses` does not name.
    """
    name = f"{type(receiver).__name__}.losses in phase {phase.name!r}"
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} should give tensors by name, gave {shown(found)}")
    for key, loss in found.items():
        if key not in phase.losses:
            known = ", ".join(phase.losses)
            raise ValueError(f"{name} gives {key!r}, but Phase.losses has {known}; add it there")
        if not (isinstance(loss, Tensor) and loss.dim() == 0):
            raise ValueError(f"{name} should give {key!r} as a scalar tensor, gave {shown(loss)}")
    if found and not any(loss.requires_grad for loss in found.values()):
        raise ValueError(f"{name} gives nothing to train: every loss is detached")
    return found


def checked_answers(receiver: object, samples: int, found: Any) -> Predictions | Feedback:
    """Answers to some samples, a text and a first token for each, or feedback.

    Raises:
        ValueError: if it is something else.
    """
    name = f"{type(receiver).__name__}'s answers"
    if isinstance(found, Feedback):
        return found
    if not isinstance(found, Predictions):
        raise ValueError(f"{name} should be Predictions or Feedback, not {shown(found)}")
    for part in ("texts", "first_token"):
        if (count := len(getattr(found, part))) != samples:
            raise ValueError(
                f"{name} should have {samples} {part}, one of each sample, not {count}"
            )
    for text in found.texts:
        if not isinstance(text, str):
            raise ValueError(f"{name} should be texts, not {shown(text)}")
    return found


def checked_scores(task: Task, samples: int, found: Iterable[Any]) -> tuple[float, ...]:
    """A score of each answer.

    Raises:
        ValueError: for more or fewer of them, or what is no number.
    """
    name, scores = f"{type(task).__name__}.scores", tuple(found)
    if len(scores) != samples:
        raise ValueError(
            f"{name} should give {samples} scores, one of each answer, gave {len(scores)}"
        )
    for score in scores:
        if not isinstance(score, Real):
            raise ValueError(f"{name} should give numbers, gave {shown(score)}")
    return scores


def shown(value: object) -> str:
    """``float32 [8, 256]`` of a tensor; otherwise its type, of what is in a tuple too."""
    if isinstance(value, Tensor):
        return f"{_kind(value.dtype)} {list(value.shape)}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(shown, value))})"
    return "None" if value is None else type(value).__name__


def _kind(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
