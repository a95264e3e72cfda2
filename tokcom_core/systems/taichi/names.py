"""Names of TaiChi's device, streams and phases."""

from ...tasks import instructions

TERMINAL = "terminal"

VISUAL = "visual"
"""Projected visual tokens, for phases off the air, where the base station has the texts."""
PROMPT = "prompt"
"""States of the prompt, which cross the air."""
DIALOGUE = "dialogue"
"""States of prompt and true answer, which cross the air in training under relay."""
STATES = "states"
"""States of the prompt as they are, which the channel codec is to reconstruct."""

PRETRAINING = "pretraining"
TUNING = "tuning"
CODEC = "codec"
CODING = "coding"
TEXT_TUNING = "text-tuning"
"""The only phase of a reference, which reads intact texts."""

SPLITS = {PRETRAINING: instructions.PRETRAINING, TUNING: instructions.TUNING}
"""Split that each phase off the air learns from."""
OFF_AIR = tuple(SPLITS)
