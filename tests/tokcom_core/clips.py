"""Small clips as people have them: any size, rate and key frames, with sound."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray


def write_clip_of(
    file: Path,
    pictures: NDArray[np.uint8],
    rate_hz: int = 12,
    options: dict[str, str] | None = None,
) -> None:
    """Writes ``[T, height, width, 3]`` as H.264, a key frame a second, with silence as AAC."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w", options=options or {}) as container:
        video = container.add_stream("libx264", rate=rate_hz)
        video.height, video.width = pictures.shape[1:3]
        video.pix_fmt = "yuv420p"
        keys = {"g": str(rate_hz), "keyint_min": str(rate_hz), "sc_threshold": "0", "bf": "0"}
        video.options = {"preset": "ultrafast", "crf": "10", "threads": "1", **keys}
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        silence = np.zeros((1, 16_000 * len(pictures) // rate_hz), np.float32)
        block = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        block.sample_rate = 16_000
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))


def write_sound(file: Path, samples: NDArray[np.int16]) -> None:
    """Writes ``[samples]`` as 16 kHz mono."""
    with wave.open(str(file), "wb") as writer:
        writer.setparams((1, 2, 16_000, 0, "NONE", ""))
        writer.writeframes(samples.tobytes())


_BITS, _STRIPE = 7, 8


def numbered(count: int) -> NDArray[np.uint8]:
    """Pictures ``[count, 32, 56, 3]`` whose white stripes are their numbers in binary."""
    assert count <= 2**_BITS
    bits = np.arange(count)[:, None] >> np.arange(_BITS) & 1
    stripes = np.repeat(bits.astype(np.uint8) * 255, _STRIPE, axis=1)
    return np.ascontiguousarray(np.broadcast_to(stripes[:, None, :, None], (count, 32, 56, 3)))


def numbers(frames: NDArray[np.uint8]) -> list[int]:
    """Which of the numbered pictures these are."""
    stripes = frames.reshape(len(frames), -1, _BITS, _STRIPE * 3).mean(axis=(1, 3))
    return [int(n) for n in (stripes > 127) @ (1 << np.arange(_BITS))]
