"""Draws a scene as pictures and sound, and writes them as a real ``.mp4``."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ...storage import atomic_file
from ..layout import SAMPLE_RATE_HZ
from .scene import BEATS, CLIP_SECONDS, INSTANTS, INSTRUMENTS, ROWS, Scene

TILE_PIXELS = 16
FRAME_PIXELS = TILE_PIXELS * len(ROWS)
FRAMES_PER_INSTANT = 2
FRAMES = INSTANTS * FRAMES_PER_INSTANT
FRAME_RATE_HZ = Fraction(FRAMES * 2, int(2 * CLIP_SECONDS))
SAMPLES = int(CLIP_SECONDS * SAMPLE_RATE_HZ)

_GAINS = (0.09, 0.3, 1.0)
"""Amplitude of quiet, medium and loud: steps of 10.5 dB."""
_PEAK = 0.25
_NOISE = 1e-4

_COLORS = np.array(
    [
        (225, 80, 70),
        (240, 160, 60),
        (235, 225, 90),
        (110, 210, 90),
        (80, 210, 210),
        (90, 130, 235),
        (170, 100, 230),
        (235, 120, 190),
    ],
    dtype=np.float32,
)
_FUNDAMENTAL_HZ = (330.0, 110.0, 0.0, 880.0, 262.0, 196.0, 466.0, 659.0)
_HARMONIC_DECAY = (0.75, 0.6, 0.0, 0.2, 0.4, 0.85, 0.8, 0.55)
"""A drum (0 Hz) is a decaying burst of noise."""


def _glyph(instrument: int) -> NDArray[np.bool_]:
    """A 12 x 12 shape of its own for each instrument."""
    y, x = np.mgrid[0:12, 0:12] - 5.5
    shapes = (
        np.abs(x) + np.abs(y) < 6,
        (np.abs(x) < 2) | (np.abs(y) < 2),
        x**2 + y**2 < 30,
        np.abs(y) < 3,
        (np.abs(x) < 5.6) & (np.abs(y) < 5.6) & ((np.abs(x) > 3) | (np.abs(y) > 3)),
        np.abs(x - y) < 3,
        np.abs(x) < y / 2 + 3,
        np.abs(np.abs(x) - 3.5) < 1.6,
    )
    return np.asarray(shapes[instrument], dtype=bool)


_GLYPHS = [_glyph(i) for i in range(len(INSTRUMENTS))]


def draw_frames(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Returns ``[FRAMES, FRAME_PIXELS, FRAME_PIXELS, 3]``, uint8."""
    shape = (FRAMES, FRAME_PIXELS, FRAME_PIXELS, 3)
    frames = rng.uniform(20, 60) + rng.normal(0, 6, shape).astype(np.float32)
    for source in scene.visible:
        assert source.row is not None and source.column is not None
        glyph = _GLYPHS[source.instrument]
        color = _COLORS[source.instrument] * rng.uniform(0.8, 1.05)
        top = source.row * TILE_PIXELS + 2 + int(rng.integers(-1, 2))
        left = source.column * TILE_PIXELS + 2 + int(rng.integers(-1, 2))
        start = source.visible_from * FRAMES_PER_INSTANT
        stop = source.visible_until * FRAMES_PER_INSTANT
        tile = frames[start:stop, top : top + 12, left : left + 12]
        tile[:, glyph] = color
    pixels: NDArray[np.uint8] = np.clip(frames, 0, 255).astype(np.uint8)
    return pixels


def play(scene: Scene, rng: np.random.Generator) -> NDArray[np.float32]:
    """Returns mono sound ``[SAMPLES]`` at SAMPLE_RATE_HZ; full scale is 1, drums may exceed it."""
    sound = rng.normal(0, _NOISE, SAMPLES)
    length = SAMPLES // BEATS
    for source in scene.sounding:
        assert source.beat is not None and source.loudness is not None
        gain = _GAINS[source.loudness] * rng.uniform(0.85, 1.15)
        note = _note(source.instrument, length, rng)
        sound[source.beat * length : (source.beat + 1) * length] += _PEAK * gain * note
    return sound.astype(np.float32)


def _note(instrument: int, length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """One beat of an instrument, with unit RMS and a soft attack and release."""
    t = np.arange(length) / SAMPLE_RATE_HZ
    fundamental = _FUNDAMENTAL_HZ[instrument] * rng.uniform(0.97, 1.03)
    if fundamental == 0:
        note = rng.normal(size=length) * np.exp(-6 * t)
    else:
        count = min(12, int(7000 / fundamental))
        note = np.zeros(length)
        for k in range(1, count + 1):
            phase = rng.uniform(0, 2 * np.pi)
            amplitude = _HARMONIC_DECAY[instrument] ** (k - 1)
            note += amplitude * np.sin(2 * np.pi * k * fundamental * t + phase)
    ramp = np.minimum(1, np.minimum(t, t[::-1]) / 0.02)
    note = note * ramp
    return np.asarray(note / np.sqrt(np.mean(note**2)))


def write_clip(file: Path, frames: NDArray[np.uint8], sound: NDArray[np.float32]) -> None:
    """Writes a clip to ``file`` as H.264 and AAC, through a temporary name."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FRAME_RATE_HZ)
        video.width = video.height = FRAME_PIXELS
        video.pix_fmt = "yuv420p"
        video.options = {"crf": "16", "preset": "ultrafast", "threads": "1"}
        audio = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        audio.bit_rate = 64_000
        audio.options = {"aac_coder": "fast"}  # the default takes four fifths of a clip's time
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode(None))
        block = av.AudioFrame.from_ndarray(sound[None, :], format="fltp", layout="mono")
        block.sample_rate = SAMPLE_RATE_HZ
        container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    with atomic_file(file) as partial:
        partial.write_bytes(buffer.getvalue())
