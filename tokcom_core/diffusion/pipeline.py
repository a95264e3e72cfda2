"""Draws prompts with a text-to-image pipeline of ``diffusers``."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers.utils import logging as transformers_logging

from ..checkpoints import POCKET_DRAWING
from ..devices import pick_device, pick_dtype

_BATCH = 50
_KEYWORDS = ("prompt", "num_inference_steps", "guidance_scale", "generator", "output_type")
"""What a pipeline is called with."""


@dataclass(frozen=True)
class Sampling:
    """How a picture is sampled: denoising steps, and the scale of classifier-free guidance.

    Raises:
        ValueError: for a guidance that is not finite, as all would be black.
    """

    steps: int = 20
    guidance: float = 2.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.guidance):
            raise ValueError(f"a guidance of {self.guidance} should be finite, such as 2")


class ImageGenerator:
    """A text-to-image pipeline, such as Stable Diffusion's.

    Args:
        name: Hugging Face name, a folder with a ``model_index.json``, or ``pocket-drawing``.
        device: Torch device or ``auto``.

    Raises:
        ValueError: if ``diffusers`` is not installed, there is no such pipeline, or it does not
            take a prompt.
    """

    def __init__(self, name: str = POCKET_DRAWING, device: str = "auto") -> None:
        self.device = pick_device(device)
        pipeline = _load(name, pick_dtype(self.device))
        taken = inspect.signature(type(pipeline).__call__).parameters
        if missing := [key for key in _KEYWORDS if key not in taken]:
            raise ValueError(
                f"{type(pipeline).__name__} of {name!r} takes no {missing[0]}; take a "
                f"text-to-image pipeline, such as a StableDiffusionPipeline"
            )
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to(self.device)

    def draw(
        self, prompts: Sequence[str], seed: int, sampling: Sampling | None = None
    ) -> list[NDArray[np.uint8]]:
        """Draws a picture ``[H, W, 3]``, uint8, from each prompt.

        The noise of a picture depends only on the seed and the picture's index, so that prompts
        can be compared with the same noise.
        """
        sampling = sampling or Sampling()
        seeds = np.random.default_rng(seed).integers(2**62, size=len(prompts)).tolist()
        drawn: list[NDArray[np.uint8]] = []
        for start in range(0, len(prompts), _BATCH):
            part = slice(start, start + _BATCH)
            output = self._pipeline(
                prompt=list(prompts[part]),
                num_inference_steps=sampling.steps,
                guidance_scale=sampling.guidance,
                generator=[torch.Generator().manual_seed(noise) for noise in seeds[part]],
                output_type="np",
            )
            drawn += [np.round(255 * image).astype(np.uint8) for image in output.images]
        return drawn


def require_diffusers() -> None:
    """Checks that ``diffusers`` is installed, and makes it report nothing but errors.

    Raises:
        ValueError: if it is not installed.
    """
    try:
        from diffusers.utils.logging import disable_progress_bar, set_verbosity_error
    except ImportError:
        raise ValueError(
            'drawing needs diffusers, which is not installed: pip install "tokcom[diffusion]"'
        ) from None
    disable_progress_bar()
    transformers_logging.disable_progress_bar()  # of the text encoder, which transformers loads
    set_verbosity_error()


def _load(name: str, dtype: torch.dtype) -> Any:
    require_diffusers()
    from diffusers import DiffusionPipeline

    from ..checkpoints.configs import from_pretrained
    from . import patches  # noqa: F401  # for the pocket pipeline: diffusers does not import it

    return from_pretrained(
        DiffusionPipeline.from_pretrained,
        name,
        "diffusion",
        dtype=dtype,
        use_safetensors=True,
    )
