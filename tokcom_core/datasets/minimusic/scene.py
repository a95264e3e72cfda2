"""What happens in one MiniMUSIC clip: who stands where, who plays when and how loud.

The stage has 3 x 3 places. Two or three instruments are visible, each for at least half of the
clip; some clips have one more source off screen. A sounding instrument plays in one of eight
disjoint beats at one of three loudness levels. Place is only in the picture, loudness and order
only in the sound; "silent" and "off screen" need both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

INSTRUMENTS = ("accordion", "cello", "drum", "flute", "piano", "saxophone", "trumpet", "violin")
ROWS = ("back", "center", "front")
COLUMNS = ("left", "middle", "right")
LOUDNESS = ("quiet", "medium", "loud")
ORDINALS = ("first", "second", "third", "fourth")
NUMBERS = ("zero", "one", "two", "three", "four")

BEATS = 8
"""Disjoint time slots of the sound."""
INSTANTS = 13
"""Time steps of the picture.

With 9 places each, evenly spaced tokens alias at none of the usual token lengths
(``docs/minimusic.md`` has the coverage).
"""
CLIP_SECONDS = 4.0

P_SOUNDING = 0.65
P_OFFSCREEN = 0.3


@dataclass(frozen=True)
class Source:
    """One instrument of a scene.

    ``row`` and ``column`` are None if it is off screen, ``beat`` and ``loudness`` if it is silent.
    """

    instrument: int
    row: int | None = None
    column: int | None = None
    visible_from: int = 0
    visible_until: int = INSTANTS
    beat: int | None = None
    loudness: int | None = None

    @property
    def visible(self) -> bool:
        return self.row is not None

    @property
    def sounding(self) -> bool:
        return self.beat is not None

    @property
    def name(self) -> str:
        return INSTRUMENTS[self.instrument]

    @property
    def row_name(self) -> str:
        assert self.row is not None
        return ROWS[self.row]

    @property
    def column_name(self) -> str:
        assert self.column is not None
        return COLUMNS[self.column]

    @property
    def loudness_name(self) -> str:
        assert self.loudness is not None
        return LOUDNESS[self.loudness]


@dataclass(frozen=True)
class Scene:
    """The sources of one clip, in no particular order."""

    sources: tuple[Source, ...]

    @property
    def visible(self) -> list[Source]:
        return [s for s in self.sources if s.visible]

    @property
    def sounding(self) -> list[Source]:
        """The sounding sources in order of time."""
        return sorted((s for s in self.sources if s.beat is not None), key=lambda s: s.beat or 0)

    def order(self, source: Source) -> int:
        """0 for the first sounding source, 1 for the second, ..."""
        return self.sounding.index(source)


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene."""
    visible_count = int(rng.integers(2, 4))
    offscreen = bool(rng.random() < P_OFFSCREEN)
    instruments = rng.permutation(len(INSTRUMENTS))[: visible_count + offscreen]
    places = rng.permutation(len(ROWS) * len(COLUMNS))[:visible_count]
    beats = rng.permutation(BEATS)
    sources = []
    for i, instrument in enumerate(instruments):
        sounding = i >= visible_count or rng.random() < P_SOUNDING
        beat = int(beats[i]) if sounding else None
        loudness = int(rng.integers(len(LOUDNESS))) if sounding else None
        if i >= visible_count:
            sources.append(Source(int(instrument), beat=beat, loudness=loudness))
            continue
        shown = int(rng.integers((INSTANTS + 1) // 2, INSTANTS + 1))
        start = int(rng.integers(0, INSTANTS - shown + 1))
        row, column = divmod(int(places[i]), len(COLUMNS))
        sources.append(Source(int(instrument), row, column, start, start + shown, beat, loudness))
    return Scene(tuple(sources))
