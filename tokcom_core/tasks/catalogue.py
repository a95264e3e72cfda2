"""The instruction tasks by name."""

from __future__ import annotations

from ..config import named
from .captioning import Captioning
from .clevr import Clevr
from .instructions import InstructionTask
from .llava import Llava
from .mmbench import MmBench
from .mme import Mme
from .mmvet import MmVet
from .reviews import Imdb, Sst2
from .vqa import TextVqa, VqaV2

INSTRUCTION_TASKS: dict[str, type[InstructionTask]] = {
    "clevr": Clevr,
    "vqav2": VqaV2,
    "textvqa": TextVqa,
    "mme": Mme,
    "mmbench": MmBench,
    "sst2": Sst2,
    "imdb": Imdb,
    "captioning": Captioning,
    "llava": Llava,
    "mmvet": MmVet,
}
NamedInstructionTask = named(InstructionTask, lambda: INSTRUCTION_TASKS)
"""A single instruction task by name, a mapping with one, or a custom class."""
