"""Checks whether media files can be read, completely and in the way that the encoders do."""

from __future__ import annotations

from pathlib import Path

import av

from ..errors import first_line
from .images import read_image
from .layout import frame_files
from .media import check_length, read_frames, read_sound
from .video import count_shown

_SIDES_PX = (32, 32)
"""Size that pictures are resized to, because their own sizes may differ."""


def check_readable(file: Path, medium: str = "") -> None:
    """Reads a sound, an image, all frames of a folder, or the packets of a recording.

    Files of other kinds are not checked.

    Args:
        file: The file or folder.
        medium: Medium that it is of, see :attr:`Task.media`: an ``image`` is read as one, whatever
            its name ends in.

    Raises:
        ValueError: in one line, for a file that is damaged or that no encoder takes.
    """
    suffix = file.suffix.lower()
    if file.is_dir():
        read_frames(file, max(1, len(frame_files(file))), "first", _SIDES_PX)
    elif suffix == ".wav":
        sound = read_sound(file)
        try:
            check_length(len(sound))
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None
    elif medium == "image" or suffix in (".png", ".jpg", ".jpeg"):
        read_image(file, _SIDES_PX)
    elif suffix == ".mp4":
        try:
            count_shown(file)
        except (av.FFmpegError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise ValueError(f"{file} cannot be read: {reason}") from None
