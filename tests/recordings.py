"""Recordings like those of MUSIC-AVQA and VALOR: 1280 x 720, 60 s of stereo sound, own schema."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tokcom_core.datasets.annotations import fill
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR, annotation_file, video_file

WIDTH, HEIGHT = 1280, 720
DURATION_S = 60
FRAME_RATE_HZ = 1
_SAMPLE_RATE_HZ, _SOUND_BITS_PER_S = 22_050, 32_000

ALIGNED = tuple(f"CEfOX4fYlsY_{start}.000_{start + 10}.000" for start in (20, 30, 40, 50))
"""Video ids of VALOR: a name, then begin and end."""
SPLITS = {
    "train": ("00000012", "00000093", "00000153"),
    "val": ("00000028", "00000086"),
    "test": ("00000028", "00000086", "sa00002321"),
}
"""Video ids of MUSIC-AVQA: most clips of its validation also stand in its test."""


@dataclass(frozen=True)
class _Asked:
    kind: tuple[str, str]
    content: str
    values: tuple[str, ...]
    answers: tuple[str, ...]


_ASKED = (
    _Asked(("Audio", "Counting"), "Are there <Object> and <Object> sound? ",
           ("cello", "accordion"), ("yes", "no")),
    _Asked(("Audio", "Comparative"), "Is the <Object> louder than the <Object>?",
           ("clarinet", "acoustic_guitar"), ("no", "yes")),
    _Asked(("Visual", "Counting"), "How many <Object> are in the entire video?",
           ("violin",), ("one", "more than ten", "zero")),
    _Asked(("Visual", "Location"), "What kind of instrument is the <LRer> instrument? ",
           ("rightest",), ("bassoon", "acoustic_guitar")),
    _Asked(("Audio-Visual", "Existential"), "Is there a voiceover?",
           (), ("yes", "no")),
    _Asked(("Audio-Visual", "Counting"), "How many sounding <Object> in the video\uff1f",
           ("violin",), ("three", "two")),
    _Asked(("Audio-Visual", "Location"), "Is the <FL> sound coming from the <LR> instrument?",
           ("first", "left"), ("no", "yes")),
    _Asked(("Audio-Visual", "Comparative"),
           "Is the <Object> on the <LR> louder than the <Object> on the <LR>?",
           ("saxophone", "right", "ukulele", "left"), ("yes", "no")),
    _Asked(("Audio-Visual", "Temporal"), "Which <Object> makes the sound <FL>?",
           ("bassoon", "last"), ("simultaneously", "bassoon")),
)  # fmt: skip
"""One question of each of the nine types, as they stand in the data set's own files."""
ASKED_PER_CLIP = len(_ASKED)

_CAPTION = "In the room, a woman held a {} and played it. The sound of {} music, {}."


def write_recordings(root: Path) -> list[str]:
    """Writes ten clips and their annotations below ``root``; returns every text in them."""
    captions = {name: _caption(i) for i, name in enumerate(ALIGNED)}
    _write_json(
        annotation_file(root / VALOR, "desc", "train"),
        [{"video_id": name, "desc": text} for name, text in captions.items()],
    )
    texts = list(captions.values())
    for offset, (split, names) in enumerate(SPLITS.items()):
        rows = [row for i, name in enumerate(names) for row in _questions(name, 9 * i + offset)]
        _write_json(annotation_file(root / MUSIC_AVQA, "avqa", split), rows)
        texts += [fill(row["question_content"], json.loads(row["templ_values"])) for row in rows]
        texts += [row["anser"] for row in rows]
    tasked = dict.fromkeys(name for names in SPLITS.values() for name in names)
    clips = [(VALOR, name) for name in ALIGNED] + [(MUSIC_AVQA, name) for name in tasked]
    for i, (dataset, name) in enumerate(clips):
        write_recording(video_file(root / dataset, name), i)
    return texts


def write_recording(file: Path, number: int) -> None:
    """One clip in H.264 and AAC: a square that moves over a plain wall, and a tone that swells."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE_HZ)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.options = {"preset": "ultrafast", "threads": "1"}
        audio = container.add_stream("aac", rate=_SAMPLE_RATE_HZ, layout="stereo")
        audio.bit_rate = _SOUND_BITS_PER_S
        for step in range(DURATION_S * FRAME_RATE_HZ):
            container.mux(video.encode(_picture(number, step)))
        container.mux(video.encode(None))
        sound = av.AudioFrame.from_ndarray(_sound(number), format="fltp", layout="stereo")
        sound.sample_rate = _SAMPLE_RATE_HZ
        container.mux(audio.encode(sound))
        container.mux(audio.encode(None))


def _picture(number: int, step: int) -> av.VideoFrame:
    """Planes of 4:2:0 below each other: brightness, then two of color at half the size."""
    planes = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    planes[:HEIGHT] = 40 + 10 * number
    left = 9 * step % (WIDTH - 200)
    planes[100 + 40 * number :][:200, left : left + 200] = 220
    return av.VideoFrame.from_ndarray(planes, format="yuv420p")


def _sound(number: int) -> NDArray[np.float32]:
    """``[2, samples]`` within -1..1."""
    time_s = np.arange(DURATION_S * _SAMPLE_RATE_HZ) / _SAMPLE_RATE_HZ
    tone = np.sin(2 * np.pi * 110 * (number + 1) * time_s) * time_s / DURATION_S
    return np.stack([0.5 * tone, 0.3 * tone]).astype(np.float32)


def _caption(number: int) -> str:
    instrument = ("violin", "piano", "flute", "xylophone")[number % 4]
    return _CAPTION.format(instrument, instrument, ("softly", "loudly")[number % 2])


def _questions(video_id: str, number: int) -> list[dict[str, Any]]:
    """A question of each type about a clip, and one that the data set's authors took back."""
    rows = [
        {
            "video_id": video_id,
            "question_id": 100 * number + i,
            "type": json.dumps(asked.kind),
            "question_content": asked.content,
            "templ_values": json.dumps(asked.values),
            "question_deleted": 0,
            "anser": asked.answers[(number + i) % len(asked.answers)],
        }
        for i, asked in enumerate(_ASKED)
    ]
    return [*rows, {**rows[0], "question_id": 100 * number + 99, "question_deleted": 1}]


def _write_json(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
