"""Questions that a score counts together, if all are asked: for example, those about one image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import replace

import pandas as pd

from ..datasets.samples import Samples
from .instructions import Example

_COLUMN = "siblings"


def with_siblings(examples: Sequence[Example], wholes: Sequence[Hashable]) -> list[Example]:
    """Examples that say how many examples belong to the same whole, themselves included.

    Args:
        examples: All examples of a split.
        wholes: What each of them belongs to.
    """
    counts = Counter(wholes)
    return [
        replace(example, more={**example.more, _COLUMN: str(counts[whole])})
        for example, whole in zip(examples, wholes, strict=True)
    ]


def complete(samples: Samples, wholes: Sequence[Hashable], scores: Sequence[float]) -> pd.DataFrame:
    """Columns ``group, whole, right`` of the samples whose siblings are all there.

    Samples that are asked again, as in an emulation, make further wholes: ``whole`` pairs the given
    one with the number of times that the sample was asked before.
    """
    table = pd.DataFrame(
        {
            "sample": samples.sample_id,
            "group": samples.group,
            "whole": wholes,
            "right": scores,
            _COLUMN: [int(count) for count in samples[_COLUMN]],
        }
    )
    before = table.groupby(["whole", "sample"]).cumcount()
    table["whole"] = list(zip(table["whole"], before, strict=True))
    present = table.groupby("whole")["sample"].transform("size")
    return table.loc[present == table[_COLUMN], ["group", "whole", "right"]]
