"""Claims that a study puts to the test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from tokcom_core.config import Config, listed

from .token_lengths import TokenLengths, with_lengths

Measure = Literal["accuracy", "training_loss"]


class Claim(Config):
    """One method is better than another, in every condition that both have.

    Attributes:
        better, than: Labels of the methods, or the same label twice, at two token lengths.
        tokens: Token lengths of ``better`` at which the claim holds, by device; a device that is
            not named may have any.
        than_tokens: Those of ``than``; the same as those of ``better`` by default.
        measure: Accuracy, or the training loss: the mean of the task's loss over all steps that
            train it, which is less for a method that learns faster.
        by: Least difference, in nat for a training loss. If negative, the most that ``better`` may
            lose.
        part: Part of the task, or group of its questions; all questions by default.
        eval_snr_db: Evaluated SNRs at which the claim holds; all of them if empty.
        source: Where it is claimed, such as a figure of a paper.
    """

    better: str
    than: str
    tokens: TokenLengths = Field(default={})
    than_tokens: TokenLengths = Field(default={})
    measure: Measure = "accuracy"
    by: float = Field(default=0.0, allow_inf_nan=False)
    part: str | None = None
    eval_snr_db: Annotated[tuple[float, ...], BeforeValidator(listed)] = ()
    source: str = ""

    @model_validator(mode="after")
    def _of_its_measure(self) -> Claim:
        if self.measure == "training_loss" and (self.part or self.eval_snr_db):
            raise ValueError("a training loss has no part and no eval_snr_db; leave them out")
        if self.measure == "accuracy" and not -1 < self.by < 1:
            raise ValueError(f"by {self.by:g} of accuracies should be above -1 and below 1")
        return self

    @property
    def first(self) -> str:
        """``better``, with its token lengths."""
        return with_lengths(self.better, self.tokens)

    @property
    def second(self) -> str:
        """``than``, with its token lengths."""
        return with_lengths(self.than, self.than_tokens)

    @property
    def of_one_side(self) -> bool:
        """Whether a method is compared with itself at the same token lengths."""
        return self.better == self.than and {**self.tokens, **self.than_tokens} == self.tokens

    @property
    def text(self) -> str:
        """The claim in words."""
        if self.measure == "training_loss":
            if self.by < 0:
                return (
                    f"{self.first} learns with less than {-self.by:g} more loss than {self.second}"
                )
            margin = f", by more than {self.by:g}" if self.by else ""
            return f"{self.first} learns with less loss than {self.second}{margin}"
        if self.by < 0:
            said = f"{self.first} loses less than {-self.by:g} against {self.second}"
        else:
            margin = f" by more than {self.by:g}" if self.by else ""
            said = f"{self.first} is more accurate than {self.second}{margin}"
        said = f"{said} ({self.part})" if self.part else said
        at = ", ".join(f"{snr_db:g}" for snr_db in self.eval_snr_db)
        return f"{said} at {at} dB" if at else said
