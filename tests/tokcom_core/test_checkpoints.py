"""Checkpoints are whole or refused; what is read of them is what Hugging Face would read."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    VivitConfig,
    VivitForVideoClassification,
    VivitImageProcessor,
)

from tokcom_core.checkpoints import pocket_folder
from tokcom_core.checkpoints.loading import load_model, load_tokenizer
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.text import TextEncoder
from tokcom_core.encoders.vision import VisionEncoder
from tokcom_core.foundation import FoundationModel

State = dict[str, Tensor]
SMALL = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def language(tmp_path: Path) -> Path:
    """The pocket language model, untied, so that its head is a tensor of its own."""
    folder = tmp_path / "language"
    shutil.copytree(pocket_folder() / "language", folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    _edit(folder, lambda s: s.update({"lm_head.weight": s["model.embed_tokens.weight"].clone()}))
    return folder


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """An AST with the head that the published one has."""
    folder = tmp_path / "audio"
    ASTForAudioClassification(ASTConfig(num_hidden_layers=2, **SMALL)).save_pretrained(folder)
    ASTFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.fixture
def vision(tmp_path: Path) -> Path:
    """A ViViT with the head that the published one has."""
    folder = tmp_path / "vision"
    VivitForVideoClassification(VivitConfig(num_hidden_layers=1, **SMALL)).save_pretrained(folder)
    VivitImageProcessor().save_pretrained(folder)
    return folder


def _edit(folder: Path, change: Callable[[State], object]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _key(state: State, part: str) -> str:
    return next(key for key in state if part in key)


def _drop(part: str) -> Callable[[State], object]:
    return lambda state: state.pop(_key(state, part))


def _crop(part: str) -> Callable[[State], object]:
    def change(state: State) -> None:
        key = _key(state, part)
        state[key] = state[key][:-1].clone()

    return change


def test_whole_checkpoints_are_read_and_heads_may_be_left_over(
    language: Path,
    audio: Path,
    vision: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without a report or a progress bar of transformers."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    FoundationModel(str(language))
    AudioEncoder(str(audio))
    VisionEncoder(str(vision))
    _edit(audio, _drop("classifier"))
    AudioEncoder(str(audio))
    assert "LOAD REPORT" not in caplog.text
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_drop("layers.1.mlp.up_proj"), "lacks tensors of a Qwen2ForCausalLM: .*up_proj.weight;"),
        (_drop("lm_head"), "lacks tensors of a Qwen2ForCausalLM: lm_head.weight;"),
        (_crop("layers.1.mlp.up_proj"), "another shape .*: model.layers.1.mlp.up_proj.weight;"),
        (
            lambda state: state.update({"model.layers.9.mlp.up_proj.weight": torch.zeros(2)}),
            "config.json does not ask for: model.layers.9",
        ),
    ],
)
def test_a_language_model_that_is_not_whole_is_refused(
    change: Callable[[State], object], complaint: str, language: Path
) -> None:
    _edit(language, change)
    with pytest.raises(ValueError, match=complaint) as error:
        FoundationModel(str(language))
    assert "\n" not in str(error.value)


def test_code_of_a_checkpoint_is_never_run(language: Path) -> None:
    trace = language / "trace"
    (language / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Model: pass\n")
    config = json.loads((language / "config.json").read_text())
    config["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
    (language / "config.json").write_text(json.dumps(config))
    with suppress(ValueError):
        FoundationModel(str(language))
    assert not trace.exists()


def test_an_encoder_that_is_not_whole_is_refused(audio: Path, vision: Path) -> None:
    _edit(audio, lambda state: [_drop("layer.1.")(state) for _ in range(5)])
    with pytest.raises(ValueError, match=r"lacks tensors of a ASTModel: .* and 2 more"):
        AudioEncoder(str(audio))
    _edit(vision, _crop("patch_embeddings.projection.bias"))
    with pytest.raises(ValueError, match="another shape"):
        VisionEncoder(str(vision))


def test_a_checkpoint_of_another_architecture_is_refused(vision: Path) -> None:
    ASTFeatureExtractor().save_pretrained(vision)
    with pytest.raises(ValueError, match="lacks tensors of a ASTModel"):
        AudioEncoder(str(vision))


def test_a_checkpoint_without_weights_or_processor_is_refused(audio: Path) -> None:
    (audio / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"audio checkpoint .* cannot be read"):
        AudioEncoder(str(audio))
    ASTFeatureExtractor().save_pretrained(audio)
    (audio / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"audio checkpoint .* cannot be read"):
        AudioEncoder(str(audio))


def test_the_input_embedding_is_read_alone(
    language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From one file or several, tied or not, and whatever prefix the file gives it."""
    model = AutoModelForCausalLM.from_pretrained(language)
    expected = model.get_input_embeddings().weight.detach().float()
    sharded = tmp_path / "sharded"
    shutil.copytree(language, sharded)
    (sharded / "model.safetensors").unlink()
    model.save_pretrained(sharded, max_shard_size="50KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    bare = tmp_path / "bare"
    shutil.copytree(language, bare)
    model.model.save_pretrained(bare)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the whole model is loaded")

    monkeypatch.setattr("transformers.PreTrainedModel.from_pretrained", refuse)
    for folder in (language, sharded, bare):
        embedding = TextEncoder(str(folder), "cpu").embedding
        assert embedding.weight.dtype == torch.float32
        assert torch.equal(embedding.weight, expected)
        assert not embedding.weight.requires_grad


def test_a_tied_embedding_may_be_stored_as_the_head(language: Path) -> None:
    shutil.copy(pocket_folder() / "language" / "config.json", language)
    _edit(language, _drop("embed_tokens"))
    expected = FoundationModel(str(language), device="cpu").embedding.weight
    assert torch.equal(TextEncoder(str(language), "cpu").embedding.weight, expected)


def test_an_input_embedding_that_cannot_be_read_is_refused(language: Path) -> None:
    state = load_file(language / "model.safetensors")
    _edit(language, _crop("embed_tokens"))
    with pytest.raises(ValueError, match=r"not .80, 128. as its config.json says"):
        TextEncoder(str(language))
    (language / "model.safetensors").unlink()
    torch.save(state, language / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"no model.embed_tokens.weight in safetensors"):
        TextEncoder(str(language))


def test_the_pocket_folders_round_trip_through_the_auto_classes(tmp_path: Path) -> None:
    """Loaded and saved as anybody would, they stay what they are."""
    source = pocket_folder() / "language"
    text = "Is the Violin on the left louder? zebra yes"
    expected = PreTrainedTokenizerFast.from_pretrained(source)(text)["input_ids"]
    tokenizer = AutoTokenizer.from_pretrained(source)
    assert tokenizer(text)["input_ids"] == expected
    tokenizer.save_pretrained(tmp_path)  # without a config.json beside it, then with one
    assert AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"] == expected
    model = AutoModelForCausalLM.from_pretrained(source)
    model.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(text)["input_ids"] == expected
    assert again.decode(again("yes")["input_ids"]) == "yes"
    assert (again.eos_token, again.pad_token) == (tokenizer.eos_token, tokenizer.pad_token)
    _assert_same(model, AutoModelForCausalLM.from_pretrained(tmp_path))
    assert isinstance(AutoModelForCausalLM.from_pretrained(tmp_path), Qwen2ForCausalLM)


@pytest.mark.parametrize(
    ("kind", "processors"), [("audio", AutoFeatureExtractor), ("vision", AutoImageProcessor)]
)
def test_the_pocket_encoders_round_trip(
    kind: str, processors: type[AutoImageProcessor], tmp_path: Path
) -> None:
    source = pocket_folder() / kind
    model, processor = AutoModel.from_pretrained(source), processors.from_pretrained(source)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    _assert_same(model, AutoModel.from_pretrained(tmp_path))
    assert processors.from_pretrained(tmp_path).to_dict() == processor.to_dict()
    encoder = AudioEncoder if kind == "audio" else VisionEncoder
    assert encoder(str(tmp_path)).length == encoder("pocket").length


def _assert_same(one: torch.nn.Module, other: torch.nn.Module) -> None:
    state = other.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


def test_a_tokenizer_of_vocabulary_and_merges_is_read(tmp_path: Path) -> None:
    """As older Qwen2 folders have it, without a tokenizer.json."""
    letters = ["y", "e", "s", "n", "o", "Ġ", "ye", "yes", "no", "Ġno", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(letters)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\ny e\nye s\nn o\nĠ no\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    Qwen2Config(vocab_size=len(letters)).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer("yes no", add_special_tokens=False)["input_ids"] == [7, 9]
    assert tokenizer.decode([7, 9]) == "yes no"


def test_a_tokenizer_without_an_end_is_refused(language: Path) -> None:
    settings = json.loads((language / "tokenizer_config.json").read_text())
    del settings["eos_token"]
    (language / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="has no eos_token"):
        load_tokenizer(str(language))


def test_the_first_layers_of_a_language_model_are_read_alone(language: Path) -> None:
    """A terminal's memory holds its own layers: the others may be anywhere else."""
    whole = load_model(AutoModel, str(language), "language", torch.float32)
    _edit(language, lambda state: state.pop("model.layers.3.input_layernorm.weight"))
    first = load_model(AutoModel, str(language), "language", torch.float32, layers=3)
    assert len(first.layers) == 3
    found, expected = dict(first.named_parameters()), dict(whole.named_parameters())
    assert not any("layers.3." in name or "lm_head" in name for name in found)
    assert all(torch.equal(own, expected[name]) for name, own in found.items())
    with pytest.raises(ValueError, match="lacks tensors"):
        load_model(AutoModel, str(language), "language", torch.float32)
    _edit(language, lambda state: state.pop("model.layers.2.input_layernorm.weight"))
    with pytest.raises(ValueError, match=r"lacks tensors of a Qwen2Model: layers.2"):
        load_model(AutoModel, str(language), "language", torch.float32, layers=3)
