"""ConvNeXt checkpoints: those of transformers, and by renaming those of timm and open_clip.

timm itself needs torchvision, which not every machine can import. Its ConvNeXt and that of
transformers are the same network with other names of weights. A folder of timm's holds a
``config.json`` with an ``architecture`` (and ``model_args`` where they differ from it) and a
``model.safetensors``, in which the weights of open_clip's image tower carry a prefix.
"""

from __future__ import annotations

import re
from typing import Any

from safetensors.torch import load_file
from transformers import ConvNextConfig, ConvNextImageProcessorPil, ConvNextModel
from transformers.utils import SAFE_WEIGHTS_NAME, cached_file

from ..checkpoints.configs import read_config, read_raw_config
from ..checkpoints.loading import load_processor
from .sizes import sides

_ARCHITECTURES = {
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "convnext_large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "convnext_large_mlp": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "convnext_xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}
"""Blocks and widths of the stages, for timm's architectures that are transformers' network."""

_OWN_ARGS = {"depths", "dims", "patch_size"}
_HEAD_ARGS = {"head_hidden_size", "drop_rate", "drop_path_rate", "ls_init_value", "num_classes"}

_OPEN_CLIP = "visual.trunk."
_RENAMED = (
    (r"^stem\.0\.", "embeddings.patch_embeddings."),
    (r"^stem\.1\.", "embeddings.layernorm."),
    (r"^head\.norm\.", "layernorm."),
    (r"^stages\.(\d+)\.downsample\.", r"encoder.stages.\1.downsampling_layer."),
    (r"^stages\.(\d+)\.blocks\.(\d+)\.", r"encoder.stages.\1.layers.\2."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"(layers\.\d+)\.norm\.", r"\1.layernorm."),
    (r"\.mlp\.fc([12])\.", r".pwconv\1."),
    (r"\.gamma$", ".layer_scale_parameter"),
)


def rename(key: str) -> str:
    """The name that transformers gives to a weight of timm's ConvNeXt."""
    key = key.removeprefix(_OPEN_CLIP)
    for pattern, replacement in _RENAMED:
        key = re.sub(pattern, replacement, key)
    return key


def read_convnext(checkpoint: str) -> ConvNextConfig:
    """The configuration of a ConvNeXt checkpoint of either library.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another architecture.
    """
    keys = read_raw_config(checkpoint, "convnext")
    if "architecture" in keys:
        return _timm_config(checkpoint, keys)
    config = read_config(checkpoint, "convnext")
    if config.model_type != "convnext":
        raise ValueError(
            f"convnext encoder {checkpoint!r} is a {config.model_type}, not a convnext"
        )
    return config


def _timm_config(checkpoint: str, keys: dict[str, Any]) -> ConvNextConfig:
    name, args = keys["architecture"], keys.get("model_args") or {}
    foreign = sorted(set(args) - _OWN_ARGS - _HEAD_ARGS)
    if name not in _ARCHITECTURES or foreign:
        what = f"a {name}" + (f" with {', '.join(foreign)}" if foreign else "")
        raise ValueError(
            f"convnext encoder {checkpoint!r} is {what}; take one of {', '.join(_ARCHITECTURES)}"
        )
    depths, widths = _ARCHITECTURES[name]
    widths = tuple(args.get("dims", widths))
    return ConvNextConfig(
        num_stages=len(widths),
        depths=list(args.get("depths", depths)),
        hidden_sizes=list(widths),
        patch_size=args.get("patch_size", 4),
        image_size=_pretrained(keys).get("input_size", (3, 224, 224))[-1],
    )


def image_size(config: ConvNextConfig, size_px: int | None) -> tuple[int, int]:
    """Height and width of the images, the checkpoint's own if ``size_px`` is None."""
    return sides(config.image_size if size_px is None else size_px)


def convnext_processor(checkpoint: str) -> Any:
    """The checkpoint's own image processor, or one with the mean and deviation in timm's config."""
    keys = read_raw_config(checkpoint, "convnext")
    if "architecture" not in keys:
        return load_processor(ConvNextImageProcessorPil, checkpoint, "convnext")
    settings = _pretrained(keys)
    given = {"image_mean": settings.get("mean"), "image_std": settings.get("std")}
    return ConvNextImageProcessorPil(**{key: value for key, value in given.items() if value})


def _pretrained(keys: dict[str, Any]) -> dict[str, Any]:
    settings: dict[str, Any] = keys.get("pretrained_cfg") or {}
    return settings


def convnext_class(checkpoint: str) -> type[Any]:
    """The class whose ``from_pretrained`` loads the checkpoint as a ``ConvNextModel``."""
    config = read_convnext(checkpoint)
    if "architecture" not in read_raw_config(checkpoint, "convnext"):
        loader: type[Any] = ConvNextModel
        return loader

    class TimmConvNext:
        @staticmethod
        def from_pretrained(path: str, **options: Any) -> Any:
            weights = load_file(cached_file(path, SAFE_WEIGHTS_NAME))
            state = {rename(key): weight for key, weight in weights.items()}
            return ConvNextModel.from_pretrained(None, config=config, state_dict=state, **options)

    return TimmConvNext
