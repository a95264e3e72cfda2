"""CLIP and ConvNeXt: parity with transformers' own forward pass, sizes without weights."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextImageProcessorPil,
    ConvNextModel,
    LlavaImageProcessorPil,
)

from tokcom_core.datasets.images import read_image
from tokcom_core.datasets.media import read_frames
from tokcom_core.encoders import Clip, Convnext, EncoderConfig, Grid, Stage
from tokcom_core.encoders.clip import ClipEncoder
from tokcom_core.encoders.convnext import ConvnextEncoder
from tokcom_core.encoders.sizes import convnext_shape
from tokcom_core.encoders.stages import fold_stages, unfold_stages
from tokcom_core.features import Sliding, open_features, write_features

from .images import write_clip, write_clip_tower, write_convnext, write_image, write_timm_convnext


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def convnext(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_convnext(tmp_path_factory.mktemp("convnext"))


@pytest.fixture(scope="module")
def four_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    return write_convnext(folder, widths=(4, 6, 8, 10), depths=(1, 1, 2, 1), px=64)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image(tmp_path_factory.mktemp("images") / "a.png")


@pytest.mark.parametrize(
    "shape", [(427, 640), (640, 427), (333, 500), (480, 640), (48, 48), (31, 200)]
)
def test_pictures_of_all_shapes_are_cropped_as_by_hugging_face(
    clip: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    encoder = ClipEncoder(str(clip), "cpu", -1, crop="center")
    processor = CLIPImageProcessorPil.from_pretrained(clip)
    pixels = processor(Image.open(tmp_path / "a.png"), return_tensors="pt")
    torch.testing.assert_close(encoder.read(tmp_path / "a.png"), pixels["pixel_values"])


@pytest.mark.parametrize("shape", [(427, 640), (640, 427), (48, 48), (31, 200)])
def test_pictures_are_padded_as_by_llava(
    clip: Path, tmp_path: Path, shape: tuple[int, int]
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    encoder = ClipEncoder(str(clip), "cpu", -1, crop="pad")
    processor = LlavaImageProcessorPil.from_pretrained(clip, do_pad=True)
    pixels = processor(Image.open(tmp_path / "a.png"), return_tensors="pt")
    torch.testing.assert_close(encoder.read(tmp_path / "a.png"), pixels["pixel_values"])


@pytest.mark.parametrize("layer", [-2, -1, 1])
def test_clip_matches_hugging_face(clip: Path, image: Path, layer: int) -> None:
    """The processor's own crop, and the hidden state of transformers."""
    encoder = ClipEncoder(str(clip), "cpu", layer, crop="center")
    pixels = CLIPImageProcessorPil.from_pretrained(clip)(Image.open(image), return_tensors="pt")
    torch.testing.assert_close(encoder.read(image), pixels["pixel_values"])
    with torch.no_grad():
        model = CLIPVisionModel.from_pretrained(clip).eval()
        expected = model(**pixels, output_hidden_states=True).hidden_states[layer]
    (tokens,) = encoder.encode([encoder.read(image)])
    assert tokens.shape == (1, encoder.length, encoder.width) == (1, 37, 32)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=1e-5)


def test_the_image_tower_alone_is_a_checkpoint_too(tmp_path: Path, image: Path) -> None:
    encoder = Clip(checkpoint=str(write_clip_tower(tmp_path))).build("cpu")
    assert encoder.encode([encoder.read(image)])[0].shape == (1, 37, 32)


def test_the_whole_image_is_seen_by_both(clip: Path, convnext: Path, tmp_path: Path) -> None:
    """A white edge of a wide picture, which the processors' own crop would lose."""
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :16] = 255
    Image.fromarray(picture).save(tmp_path / "wide.png")
    for config in (Clip(checkpoint=str(clip)), Convnext(checkpoint=str(convnext))):
        pixels = config.build("cpu").read(tmp_path / "wide.png")
        columns = pixels.mean(dim=(0, 1, 2))
        tenth = len(columns) // 10
        assert float(columns[: tenth - 1].min()) > 0.9
        assert float(columns[tenth + 2 :].max()) < -0.9
        cropped = config.model_copy(update={"crop": "center"}).build("cpu")
        assert float(cropped.read(tmp_path / "wide.png").max()) < -0.9


def _stages(folder: Path, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    model = ConvNextModel.from_pretrained(folder).eval()
    with torch.no_grad():
        found = model(pixels, output_hidden_states=True).hidden_states
    return tuple(found[-model.config.num_stages :])


@pytest.mark.parametrize("size_px", [None, 32, 128])
def test_convnext_matches_hugging_face(four_stages: Path, image: Path, size_px: int | None) -> None:
    """Every stage comes back whole out of the tokens."""
    config = Convnext(checkpoint=str(four_stages), size_px=size_px)
    encoder, grid = config.build("cpu"), config.shape().grid
    assert grid is not None
    pixels = encoder.read(image)
    assert pixels.shape[-2:] == (size_px or 64, size_px or 64)
    expected = _stages(four_stages, pixels)
    (tokens,) = encoder.encode([pixels])
    assert tokens.shape == (1, encoder.length, encoder.width) == (1, grid.rows**2, grid.width)
    for found, right in zip(unfold_stages(tokens, grid), expected, strict=True):
        torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)


def test_convnext_preprocesses_as_its_processor(four_stages: Path, image: Path) -> None:
    """From 384 px on, that resizes the whole image, as crop: none does at every size."""
    processor = ConvNextImageProcessorPil(size={"shortest_edge": 384})
    expected = processor(Image.open(image), return_tensors="pt")["pixel_values"]
    encoder = ConvnextEncoder(str(four_stages), "cpu", 384)
    torch.testing.assert_close(encoder.read(image), expected)


def test_some_stages_may_be_kept(four_stages: Path, image: Path) -> None:
    config = Convnext(checkpoint=str(four_stages), stages=(1, 3))
    grid = config.shape().grid
    assert grid == Grid(4, 4, (Stage(4, 4), Stage(8, 1)))
    encoder = config.build("cpu")
    pixels = encoder.read(image)
    maps = unfold_stages(encoder.encode([pixels])[0], grid)
    expected = _stages(four_stages, pixels)
    torch.testing.assert_close(maps[0], expected[0])
    torch.testing.assert_close(maps[1], expected[2])
    for stages in ((3, 1), (0,), (5,), (1, 1)):
        with pytest.raises(ValueError, match=r"take some of 1 to 4, ascending"):
            Convnext(checkpoint=str(four_stages), stages=stages).shape()


def test_folding_keeps_places_together() -> None:
    """The features of one place stand next to each other, the places of a cell row by row."""
    fine = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    coarse = -torch.ones(1, 1, 2, 2)
    tokens = fold_stages([fine, coarse])
    assert tokens.shape == (1, 4, 9)
    assert tokens[0, 1].tolist() == [2, 18, 3, 19, 6, 22, 7, 23, -1]
    back = unfold_stages(tokens, Grid(2, 2, (Stage(2, 2), Stage(1, 1))))
    assert torch.equal(back[0], fine)
    assert torch.equal(back[1], coarse)


@pytest.mark.parametrize("prefix", ["", "visual.trunk."])
def test_weights_of_timm_and_open_clip_are_renamed(
    convnext: Path, image: Path, tmp_path: Path, prefix: str
) -> None:
    folder = write_timm_convnext(
        tmp_path / "timm",
        convnext,
        prefix,
        architecture="convnext_large_mlp",
        model_args={"depths": [1, 2], "dims": [8, 16], "head_hidden_size": 16},
        pretrained_cfg={"input_size": [3, 96, 96], "mean": [0.4] * 3, "std": [0.2] * 3},
    )
    own, renamed = (Convnext(checkpoint=str(f)) for f in (convnext, folder))
    assert renamed.shape() == own.shape()
    encoder = renamed.build("cpu")
    pixels = encoder.read(image)
    raw = read_image(image, (96, 96)).transpose(2, 0, 1) / 255
    torch.testing.assert_close(pixels[0], torch.from_numpy((raw - 0.4) / 0.2).float())
    assert torch.equal(encoder.encode([pixels])[0], own.build("cpu").encode([pixels])[0])


def test_other_networks_of_timm_are_refused(convnext: Path, tmp_path: Path) -> None:
    for number, (config, complaint) in enumerate(
        [
            ({"architecture": "resnet50"}, "is a resnet50; take one of convnext_tiny, "),
            (
                {"architecture": "convnext_tiny", "model_args": {"use_grn": True}},
                "is a convnext_tiny with use_grn; take",
            ),
        ]
    ):
        folder = write_timm_convnext(tmp_path / str(number), convnext, **config)
        with pytest.raises(ValueError, match=complaint):
            Convnext(checkpoint=str(folder)).shape()


def test_what_is_not_whole_is_refused(convnext: Path, clip: Path, tmp_path: Path) -> None:
    args: dict[str, Any] = {"depths": [1, 2], "dims": [8, 16]}
    folder = write_timm_convnext(
        tmp_path / "timm", convnext, architecture="convnext_tiny", model_args=args
    )
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("stages.1.blocks.0.gamma")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"lacks tensors of a ConvNextModel: .*layer_scale"):
        Convnext(checkpoint=str(folder)).build("cpu")
    save_file(
        {**weights, "stages.1.blocks.0.gamma": lost[:-1].clone()}, folder / "model.safetensors"
    )
    with pytest.raises(ValueError, match="another shape"):
        Convnext(checkpoint=str(folder)).build("cpu")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"convnext checkpoint .* cannot be read"):
        Convnext(checkpoint=str(folder)).build("cpu")
    with pytest.raises(ValueError, match="is a clip, not a convnext"):
        Convnext(checkpoint=str(clip)).shape()
    with pytest.raises(ValueError, match="is a convnext, not a clip"):
        Clip(checkpoint=str(convnext)).shape()


@pytest.mark.parametrize("config", [Clip, Convnext])
def test_shapes_agree_with_the_loaded_models(
    config: type[EncoderConfig], clip: Path, convnext: Path
) -> None:
    folder = clip if config is Clip else convnext
    own = config.model_validate({"checkpoint": str(folder)})
    shape, encoder = own.shape(), own.build("cpu")
    assert (shape.length, shape.width) == (encoder.length, encoder.width)
    assert shape.summary_tokens == encoder.summary_tokens
    assert shape.grid is not None
    assert shape.grid.rows * shape.grid.columns == shape.length - shape.summary_tokens
    assert shape.grid.width == shape.width


def test_published_shapes() -> None:
    """CLIP-ViT-L/14-336 and ConvNeXt-L at Mini-Gemini's 768 px, strides 4 to 32."""
    config = ConvNextConfig(hidden_sizes=[192, 384, 768, 1536], depths=[3, 3, 27, 3])
    shape = convnext_shape(config, (768, 768), None)
    assert shape.grid == Grid(24, 24, (Stage(192, 8), Stage(384, 4), Stage(768, 2), Stage(1536, 1)))
    assert shape.length == 576
    at_224 = convnext_shape(config, (224, 224), None)
    assert at_224.gflop(1) == pytest.approx(2 * 34.4, rel=0.01)  # 34.4 GMACs in ConvNeXt's Table 1


def test_macs_are_those_of_the_layers(four_stages: Path, clip: Path) -> None:
    """Against the sizes of the weights that the model has, times the places where they act."""
    model = ConvNextModel.from_pretrained(four_stages)
    expected = 0

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        nonlocal expected
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        features = weight.shape[0]
        expected += output.numel() // features * weight.numel()

    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(count)
    model(torch.zeros(1, 3, 64, 64))
    assert Convnext(checkpoint=str(four_stages)).shape().macs == expected
    layer, patch = 4 * 32 * 32 + 2 * 32 * 48, 3 * 8**2 * 32
    macs = 37 * 2 * layer + 36 * patch
    assert Clip(checkpoint=str(clip)).shape().gflop(2) == pytest.approx(2e-9 * 2 * macs)


def test_sizes_that_do_not_fit_are_refused(four_stages: Path, clip: Path) -> None:
    with pytest.raises(ValueError, match=r"size_px 100 x 100 .* take a multiple of its stride 32"):
        Convnext(checkpoint=str(four_stages), size_px=100).shape()
    for layer in (0, 4, -4):
        with pytest.raises(ValueError, match=f"layer {layer} of clip .* it has 1 to 3"):
            Clip(checkpoint=str(clip), layer=layer).shape()


def test_a_batch_is_many_images_of_one_each(convnext: Path, tmp_path: Path) -> None:
    encoder = Convnext(checkpoint=str(convnext)).build("cpu")
    files = [write_image(tmp_path / f"{i}.jpg", 50 + i, 70) for i in range(3)]
    inputs = [encoder.read(file) for file in files]
    for together, alone in zip(encoder.encode(inputs), inputs, strict=True):
        torch.testing.assert_close(together, encoder.encode([alone])[0], rtol=1e-4, atol=1e-5)


def test_the_store_keeps_every_cell(convnext: Path, image: Path, tmp_path: Path) -> None:
    config = Convnext(checkpoint=str(convnext))
    cells = config.shape().length
    encoder = config.build("cpu")
    write_features(tmp_path, encoder, {"a": image}.get, ["a"], Sliding(counts=(cells,)))
    (expected,) = encoder.encode([encoder.read(image)])
    stored = open_features(tmp_path).select(["a"], cells)
    torch.testing.assert_close(stored, expected, rtol=2e-3, atol=2e-3)


def test_any_png_or_jpeg_is_read_as_rgb_and_upright(tmp_path: Path) -> None:
    grey = Image.fromarray(np.full((6, 9), 77, np.uint8))
    grey.save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png", (4, 4)).tolist() == [[[77] * 3] * 4] * 4
    deep = Image.fromarray(np.full((6, 9), 77 << 8, np.uint16))
    deep.save(tmp_path / "frame_0001.png")
    assert read_image(tmp_path / "frame_0001.png", (4, 4)).tolist() == [[[77] * 3] * 4] * 4
    assert read_frames(tmp_path, 1, size=(4, 4)).tolist() == [[[[77] * 3] * 4] * 4]
    turned = Image.fromarray(np.repeat(np.uint8([[0, 255]]), 3, axis=0)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    turned.save(tmp_path / "turned.png", exif=exif)
    upright = read_image(tmp_path / "turned.png", (2, 3))
    assert upright[0].max() == 0
    assert upright[1].min() == 255


def test_damaged_images_are_told_in_one_line(image: Path, tmp_path: Path) -> None:
    whole = image.read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("no picture")
    Image.open(image).save(tmp_path / "other.png", format="BMP")
    exif = Image.Exif()
    exif[0x0112], exif[0x0100] = 6, 64
    width, text = (struct.pack(">HHI", 0x0100, kind, 1) for kind in (4, 2))
    Image.open(image).save(
        tmp_path / "tag.jpg", exif=exif.tobytes().replace(width, text)
    )  # a width in letters
    for name in ("cut.png", "text.jpg", "other.png", "missing.png", "tag.jpg"):
        with pytest.raises(ValueError, match=f"{name} cannot be read: ") as error:
            read_image(tmp_path / name, (8, 8))
        assert "\n" not in str(error.value)


def test_config_round_trip(convnext: Path) -> None:
    config = Convnext(checkpoint=str(convnext), size_px=64, stages=(1, 2))
    assert Convnext.model_validate(json.loads(config.model_dump_json())) == config
