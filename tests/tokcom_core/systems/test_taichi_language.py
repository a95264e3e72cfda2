"""The cut language model: parity with the whole one, token by token and text by text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedConfig,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from tokcom_core.answers import IGNORED
from tokcom_core.foundation import positions_of
from tokcom_core.systems.taichi.config import LoraSettings
from tokcom_core.systems.taichi.decoding import (
    Generation,
    Prompt,
    answer_logits,
    generate,
    own_states,
)
from tokcom_core.systems.taichi.language import LanguageLayers, Memory

LAYERS, END, LONGEST = 4, 0, 6

_SIZES = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": None,
}
_ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "qwen2": Qwen2Config(**_SIZES),
    "gemma": GemmaConfig(**_SIZES),
    "gemma2": Gemma2Config(**_SIZES, sliding_window=4),  # masks of two kinds
}


@pytest.fixture(scope="module", params=_ARCHITECTURES)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(_ARCHITECTURES[request.param])
    for parameter in model.parameters():
        parameter.data.mul_(3.0)  # otherwise the answers are all alike
    model.save_pretrained(folder)
    return str(folder)


def _batch() -> tuple[Tensor, Tensor]:
    """Token ids of prompts of different lengths, padded on the left."""
    torch.manual_seed(2)
    valid = torch.tensor([[i >= 7 - n for i in range(7)] for n in (7, 3, 5)])
    return torch.randint(1, 40, (3, 7)) * valid, valid


def _prompt(model: LanguageLayers, k: int, ids: Tensor, valid: Tensor) -> Prompt:
    """What a transmitter with the first k layers sends."""
    states = model(model.embed(ids), valid, positions_of(valid), last=k)
    return Prompt(states, valid, valid)


def _expected(checkpoint: str, ids: Tensor, valid: Tensor) -> Tensor:
    whole = AutoModelForCausalLM.from_pretrained(checkpoint)
    found: Tensor = whole.generate(
        input_ids=ids,
        attention_mask=valid.long(),
        max_new_tokens=LONGEST,
        do_sample=False,
        pad_token_id=END,
    )
    return found[:, ids.shape[1] :]


def _relay(below: LanguageLayers, above: LanguageLayers, k: int) -> Tensor:
    """Split inference: the state of every generated token comes from the transmitter."""
    ids, valid = _batch()
    memory = Memory(first=0)
    states = below(below.embed(ids), valid, positions_of(valid), memory=memory)
    generation = Generation(above, k, END, LONGEST)
    generation.begin(Prompt(states, valid, valid))
    place = valid.sum(1, keepdim=True)
    while len(generation.active):
        if memory.valid is not None:
            memory.keep(generation.rows)
        place = place[generation.rows]
        arrived = torch.ones_like(place, dtype=torch.bool)
        states = below(below.embed(generation.latest[:, None]), arrived, place, memory=memory)
        generation.step(states, arrived)
        place = place + 1
    return generation.tokens


@pytest.mark.parametrize("k", range(LAYERS))
@torch.no_grad()
def test_relay_says_what_the_whole_model_says(checkpoint: str, k: int) -> None:
    below, above = LanguageLayers(checkpoint, "cpu", k), LanguageLayers(checkpoint, "cpu")
    assert len(below.layers) == k
    expected = _expected(checkpoint, *_batch())
    found = _relay(below, above, k)
    assert len({tuple(row) for row in expected.tolist()}) > 1
    assert torch.equal(found[:, : expected.shape[1]], expected)


@pytest.mark.filterwarnings("error")
def test_no_deprecated_name_of_the_cache_is_used(checkpoint: str) -> None:
    test_one_way_with_no_layer_below_is_the_whole_model(checkpoint)


@torch.no_grad()
def test_one_way_with_no_layer_below_is_the_whole_model(checkpoint: str) -> None:
    model = LanguageLayers(checkpoint, "cpu")
    ids, valid = _batch()
    found = generate(model, 0, _prompt(model, 0, ids, valid), END, LONGEST)
    expected = _expected(checkpoint, ids, valid)
    assert torch.equal(found[:, : expected.shape[1]], expected)


@pytest.mark.parametrize("k", range(LAYERS))
@torch.no_grad()
def test_teacher_forced_logits_are_those_of_the_whole_model(checkpoint: str, k: int) -> None:
    """With relay states at any cut; with the receiver's own states if nothing is below."""
    model = LanguageLayers(checkpoint, "cpu")
    whole = AutoModelForCausalLM.from_pretrained(checkpoint)
    ids, valid = _batch()
    answers = torch.tensor([[5, 6, 7, END], [8, END, IGNORED, IGNORED], [9, 9, END, IGNORED]])
    known = answers[:, :-1]
    every = torch.cat([ids, known.clamp(min=0)], dim=1)
    marks = torch.cat([valid, known != IGNORED], dim=1)
    expected = whole(
        input_ids=every, attention_mask=marks.long(), position_ids=positions_of(marks)
    ).logits[:, -4:]
    relayed = answer_logits(model, k, _prompt(model, k, every, marks), 4)
    real = answers != IGNORED
    torch.testing.assert_close(relayed[real], expected[real], rtol=1e-4, atol=1e-4)
    alone = own_states(model, k, _prompt(model, k, ids, valid), answers)
    one_way = answer_logits(model, k, alone, 4)
    torch.testing.assert_close(one_way[:, 0], expected[:, 0], rtol=1e-4, atol=1e-4)
    same = torch.allclose(one_way[real], expected[real], rtol=1e-3, atol=1e-3)
    assert same == (k == 0), "the first layers see the answer alone"


@pytest.mark.parametrize("k", [0, 2])
@torch.no_grad()
def test_one_way_generation_agrees_with_its_own_teacher_forcing(checkpoint: str, k: int) -> None:
    """The caches change nothing: each token is the most likely one after those before it."""
    model = LanguageLayers(checkpoint, "cpu")
    ids, valid = _batch()
    prompt = _prompt(model, k, ids, valid)
    found = generate(model, k, prompt, END, LONGEST)
    logits = answer_logits(model, k, own_states(model, k, prompt, found), found.shape[1])
    ended = (found == END).long().cumsum(1) - (found == END).long() > 0
    assert torch.equal(logits.argmax(-1)[~ended], found[~ended])


@torch.no_grad()
def test_what_does_not_arrive_is_not_attended_to(checkpoint: str) -> None:
    """And takes its place in the text all the same."""
    model = LanguageLayers(checkpoint, "cpu")
    ids, valid = _batch()
    prompt = _prompt(model, 2, ids, valid)
    arrived = valid.clone()
    arrived[:, 5] = False
    answers = torch.tensor([[5, END]] * 3)
    found = []
    for noise in (0.0, 100.0):
        states = prompt.states.clone()
        states[:, 5] += noise
        lost = own_states(model, 2, Prompt(states, valid, arrived), answers)
        found.append(answer_logits(model, 2, lost, 2))
    torch.testing.assert_close(*found)


_forward = Qwen2DecoderLayer.forward


def _older(
    self: Qwen2DecoderLayer, states: Tensor, past_key_values: object = None, **own: object
) -> Tensor:
    return _forward(self, states, **{**own, "cache": past_key_values})


def _newer(self: Qwen2DecoderLayer, states: Tensor, memory: object = None, **own: object) -> Tensor:
    """Takes the names that it does not know, and does nothing with them."""
    own.pop("past_key_values", None)
    return _forward(self, states, **{**own, "cache": memory})


def test_a_cache_of_another_name_is_used_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    folder = str(tmp_path)
    AutoModelForCausalLM.from_config(_ARCHITECTURES["qwen2"]).save_pretrained(folder)
    ids, valid = _batch()

    def said() -> Tensor:
        model = LanguageLayers(folder, "cpu")
        return generate(model, 0, _prompt(model, 0, ids, valid), END, LONGEST)

    expected = said()
    with monkeypatch.context() as patched:
        patched.setattr(Qwen2DecoderLayer, "forward", _older)
        assert torch.equal(said(), expected)
    monkeypatch.setattr(Qwen2DecoderLayer, "forward", _newer)
    with pytest.raises(ValueError, match=r"cannot be cut .* do not remember the tokens"):
        LanguageLayers(folder, "cpu")


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no memory"), torch.AcceleratorError("CUDA error: lost")]
)
def test_a_lost_gpu_is_no_model_of_another_structure(
    error: Exception, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: object, **options: object) -> Tensor:
        raise error

    monkeypatch.setattr(LanguageLayers, "forward", lost)
    with pytest.raises(type(error), match=str(error)):
        LanguageLayers(checkpoint, "cpu")


def test_an_adapter_starts_at_nothing_and_alone_learns(checkpoint: str) -> None:
    plain = LanguageLayers(checkpoint, "cpu")
    adapted = LanguageLayers(checkpoint, "cpu", lora=LoraSettings(rank=2).shape)
    ids, valid = _batch()
    with torch.no_grad():
        states = [m(m.embed(ids), valid, positions_of(valid)) for m in (plain, adapted)]
    torch.testing.assert_close(*states)
    learning = [name for name, p in adapted.named_parameters() if p.requires_grad]
    assert len(learning) == 2 * 7 * LAYERS
    assert {id(p) for p in adapted.adapter()} == {
        id(p) for p in adapted.parameters() if p.requires_grad
    }


def test_a_model_of_another_structure_is_refused(tmp_path: Path) -> None:
    from transformers import GPT2Config

    config = GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=10)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="rotary_emb and norm"):
        LanguageLayers(str(tmp_path), "cpu")


@pytest.mark.parametrize(
    "config",
    [LlamaConfig(**_SIZES), MistralConfig(**_SIZES), Phi3Config(**_SIZES), Qwen3Config(**_SIZES)],
    ids=lambda config: config.model_type,
)
@torch.no_grad()
def test_models_that_are_built_alike_say_the_same_in_two_pieces(
    config: PreTrainedConfig, tmp_path: Path
) -> None:
    whole = AutoModelForCausalLM.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    below, above = LanguageLayers(str(tmp_path), "cpu", 2), LanguageLayers(str(tmp_path), "cpu")
    ids, valid = _batch()
    places = positions_of(valid)
    states = above(below(below.embed(ids), valid, places), valid, places, first=2)
    expected = whole(input_ids=ids, attention_mask=valid.long(), position_ids=places).logits
    torch.testing.assert_close(above.logits(states)[valid], expected[valid])


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (GraniteConfig(**_SIZES, embedding_multiplier=12.0, logits_scaling=8.0), "are others"),
        (CohereConfig(**_SIZES), "are others"),
        (Gemma3TextConfig(**_SIZES), "layer_type"),
    ],
    ids=["granite", "cohere", "gemma3"],
)
def test_models_that_do_more_between_their_layers_are_refused(
    config: PreTrainedConfig, reason: str, tmp_path: Path
) -> None:
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=f"cannot be cut between its layers: .*{reason}"):
        LanguageLayers(str(tmp_path), "cpu")
