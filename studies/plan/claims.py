"""Claims that a study puts to the test."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from tokcom_core.config import Config

from .lists import listed


class Claim(Config):
    """One method is more accurate than another, in every condition that both have.

    Attributes:
        better, than: Labels of the methods.
        by: Least difference in accuracy; below 0, what ``better`` may lose at most.
        part: Part of the task, or group of its questions; all of them by default.
        eval_snr_db: Evaluated SNRs at which it is claimed; all of them if there are none.
        source: Where it is claimed, such as a figure of a paper.
    """

    better: str
    than: str
    by: float = Field(default=0.0, gt=-1, lt=1)
    part: str | None = None
    eval_snr_db: Annotated[tuple[float, ...], BeforeValidator(listed)] = ()
    source: str = ""

    @property
    def text(self) -> str:
        """The claim in words."""
        if self.by < 0:
            said = f"{self.better} loses less than {-self.by:g} against {self.than}"
        else:
            margin = f" by more than {self.by:g}" if self.by else ""
            said = f"{self.better} is more accurate than {self.than}{margin}"
        return f"{said} ({self.part})" if self.part else said
