"""Types of keys that the systems of several papers have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ..checkpoints import checkpoint
from ..config import Config, listed

if TYPE_CHECKING:
    from ..foundation import LoraShape


def absolute(name: str) -> str:
    """The name of a checkpoint, or the absolute path of a folder."""
    return checkpoint(name, Path.cwd()) if name.startswith((".", "~")) else name


Checkpoint = Annotated[str, AfterValidator(absolute)]
"""A Hugging Face name, ``pocket``, or the absolute path of a folder."""

MicroBatchSize = Annotated[
    int | None, Field(ge=1, exclude_if=lambda value: value is None)  # artifact names stay
]
"""Maximum number of samples that a step computes at once; None takes its batch whole."""

LearningRates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(listed)]
"""Candidates, all positive; a single number is a list of one."""


class AdaptedModules(Config):
    """Where a language model has a low-rank adapter.

    Attributes:
        modules: Linear layers that have one, by the ends of their names.
    """

    modules: tuple[str, ...] = Field(min_length=1)

    @property
    def shape(self) -> LoraShape:
        """The adapter's shape."""
        from ..foundation import LoraShape

        return LoraShape(modules=self.modules)

    def check(self, language: str) -> None:
        """Refuses modules that a language model lacks: PEFT would adapt the others silently.

        Raises:
            ValueError: for such modules; the message names those that the model has.
        """
        from ..checkpoints.loading import linear_modules

        paths = linear_modules(language)
        lacking = [
            name for name in self.modules if not any(f".{p}".endswith(f".{name}") for p in paths)
        ]
        if paths and lacking:
            known = dict.fromkeys(path.rpartition(".")[2] for path in paths)
            raise ValueError(
                f"the layers of language model {language!r} have no {', '.join(lacking)} for the "
                f"adapter; set lora.modules of the system to some of {', '.join(known)}"
            )
