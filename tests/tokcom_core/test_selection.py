"""Selections of tokens, each against its definition."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor
from transformers import ASTModel, CLIPVisionModel, VivitModel

from tokcom_core.checkpoints import POCKET, POCKET_IMAGES, pocket_folder
from tokcom_core.datasets.layout import MUSIC_AVQA, sound_file
from tokcom_core.encoders import Ast, Clip, EncoderConfig, Vivit
from tokcom_core.encoders.sizes import sides
from tokcom_core.features import Sliding, open_features, write_features
from tokcom_core.selection import FrozenSelection, TokenScorer, highest, select
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa
from tokcom_core.tasks.clevr import Clevr

HEAR_SEE = {"audio": 4, "vision": 4}


def _tokens(length: int, width: int = 5) -> Tensor:
    return torch.randn(length, width, generator=torch.Generator().manual_seed(length))


def _kept(scores: Tensor, count: int) -> list[int]:
    """Positions of the highest scores, by sorting pairs."""
    values = scores.tolist()
    return sorted(sorted(range(len(values)), key=lambda i: (-values[i], i))[:count])


@pytest.mark.parametrize(("length", "count"), [(1, 1), (7, 3), (50, 4), (50, 16), (9, 9)])
def test_mean_pool_averages_groups_of_neighbours(length: int, count: int) -> None:
    tokens = _tokens(length)
    groups = [tokens[i * length // count : -(-(i + 1) * length // count)] for i in range(count)]
    expected = torch.stack([group.mean(0) for group in groups])
    torch.testing.assert_close(select("mean-pool", tokens, None, count), expected)
    pooled = torch.nn.functional.adaptive_avg_pool1d(tokens.T, count).T
    assert torch.equal(select("mean-pool", tokens, None, count), pooled)


@pytest.mark.parametrize(("length", "count"), [(1, 1), (7, 3), (50, 16)])
def test_the_highest_are_sent_in_the_encoders_order(length: int, count: int) -> None:
    tokens, attention = _tokens(length), _tokens(length, 1)[:, 0]
    norms = torch.tensor([sum(float(x) ** 2 for x in token) for token in tokens])
    assert torch.equal(select("norm", tokens, None, count), tokens[_kept(norms, count)])
    chosen = select("attention", tokens, attention, count)
    assert torch.equal(chosen, tokens[_kept(attention, count)])


def test_of_equal_scores_the_first_are_kept() -> None:
    assert highest(torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0]), 3).tolist() == [0, 1, 3]
    assert highest(torch.zeros(2, 400), 3).tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("selection", ["mean-pool", "norm", "attention"])
@pytest.mark.parametrize("count", [0, 11])
def test_impossible_counts_are_refused(selection: Any, count: int) -> None:
    with pytest.raises(ValueError, match=f"cannot select {count} of 10 tokens; choose 1 to 10"):
        select(selection, _tokens(10), torch.zeros(10), count)


def test_the_scorer_learns_through_the_tokens_that_it_keeps() -> None:
    torch.manual_seed(0)
    tokens = torch.stack([_tokens(9), _tokens(9) + 1]).requires_grad_()
    scorer = TokenScorer(5)
    sent = scorer(tokens, 4)
    centred = tokens - tokens.mean(-1, keepdim=True)
    normalised = centred / (tokens.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    scores = normalised @ scorer.score.weight[0] + scorer.score.bias
    for clip, own, score in zip(tokens, sent, scores, strict=True):
        kept = _kept(score, 4)
        torch.testing.assert_close(own, clip[kept] * score[kept].sigmoid()[:, None])
    sent.square().sum().backward()
    assert scorer.score.weight.grad is not None
    assert scorer.score.weight.grad.abs().min() > 0
    assert tokens.grad is not None
    reached = tokens.grad.abs().sum(-1) > 0
    assert [row.nonzero()[:, 0].tolist() for row in reached] == [_kept(s, 4) for s in scores]


EAGER: list[tuple[EncoderConfig, Any, Path, int]] = [
    (Ast(), ASTModel, pocket_folder(POCKET) / "audio", -1),
    (Vivit(), VivitModel, pocket_folder(POCKET) / "vision", -1),
    (Clip(layer=-1), CLIPVisionModel, pocket_folder(POCKET_IMAGES) / "clip", -1),
    (Clip(layer=-2), CLIPVisionModel, pocket_folder(POCKET_IMAGES) / "clip", -2),
]


def _shape(config: Any) -> tuple[int, ...]:
    """Shape of a model's input for one window."""
    if config.model_type == "audio-spectrogram-transformer":
        return (config.max_length, config.num_mel_bins)
    pictures = (config.num_frames,) if config.model_type == "vivit" else ()
    return (*pictures, 3, *sides(config.image_size))


@pytest.mark.parametrize(("config", "model", "folder", "layer"), EAGER)
def test_attention_is_that_of_the_summary_tokens_in_the_last_layer(
    config: EncoderConfig, model: Any, folder: Path, layer: int
) -> None:
    """As transformers computes it eagerly, the mean over heads and summary tokens."""
    eager = model.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    windows = torch.randn(3, *_shape(eager.config), generator=torch.Generator().manual_seed(1))
    encoder, clips = config.build("cpu"), [windows[:2], windows[2:]]
    with torch.no_grad():
        found = eager(windows, output_attentions=True).attentions[layer]
    expected = found[:, :, : encoder.summary_tokens].mean((1, 2))
    attended = encoder.encode_attended(clips)
    attention = torch.cat([scores for _, scores in attended])
    torch.testing.assert_close(attention, expected)
    assert attention.shape == (3, encoder.length)
    for (tokens, _), plain in zip(attended, encoder.encode(clips), strict=True):
        assert torch.equal(tokens, plain)


@pytest.mark.parametrize("selection", get_args(get_args(FrozenSelection)[0]))
@pytest.mark.parametrize("with_summary", [False, True])
def test_one_store_has_all_lengths(
    selection: Any, with_summary: bool, minimusic: Path, tmp_path: Path
) -> None:
    """Of a sound of several windows the selection goes over all of them."""
    clips = list(dict.fromkeys(Avqa().samples(minimusic, "val").media_id))[:2]
    encoder = _Twice(Ast().build("cpu"))
    sliding = Sliding((4, 6), with_summary, dtype="float32", selection=selection)
    sounds = partial(sound_file, minimusic / MUSIC_AVQA)
    assert not write_features(tmp_path, encoder, sounds, clips, sliding)
    store = open_features(tmp_path)
    (tokens, attention), *_ = encoder.encode_attended([encoder.read(sounds(clips[1]))])
    skipped = 0 if with_summary else encoder.summary_tokens
    pool, scores = tokens[:, skipped:].flatten(0, 1), attention[:, skipped:].flatten()
    assert len(pool) == 2 * (encoder.length - skipped)
    for count in (4, 6):
        expected = (
            pool[torch.linspace(0, len(pool) - 1, count).round().long()]
            if selection == "slide"
            else select(selection, pool, scores, count)
        )
        torch.testing.assert_close(store.select([clips[1]], count)[0], expected)
    with pytest.raises(ValueError, match="has no 5 tokens"):
        store.select(clips, 5)


class _Twice:
    """An encoder that sees every clip twice, the second time backwards."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def read(self, file: Path) -> Tensor:
        window: Tensor = self._encoder.read(file)
        return torch.cat([window, window.flip(1)])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)


def _system(selection: str, **keys: Any) -> Mlms:
    return Mlms.model_validate({"models": {"selection": selection, **keys}})


def test_what_an_encoder_cannot_tell_is_refused() -> None:
    _system("attention").check(Avqa(), HEAR_SEE)
    _system("attention").check(Clevr(), {"image": 4})
    refusal = r"selection 'attention' needs .* image encoder 'convnext' does not; take 'norm'"
    with pytest.raises(ValueError, match=refusal):
        _system("attention", image={"name": "convnext"}).check(Clevr(), {"image": 4})
    own = {"name": "custom", "class": "tests.tokcom_core.tiny_encoder:Loudness"}
    with pytest.raises(ValueError, match="audio encoder 'custom' does not"):
        _system("attention", audio=own).check(Avqa(), HEAR_SEE)
    _system("norm", audio=own).check(Avqa(), HEAR_SEE)


@pytest.mark.parametrize("selection", ["mean-pool", "norm", "attention", "learned"])
def test_class_tokens_that_may_not_be_sent_are_not_pooled(selection: str) -> None:
    keys = {"models": {"slide": "all", "selection": selection}}
    refusal = f"needs the class token, which selection '{selection}' may not send"
    with pytest.raises(ValueError, match=refusal):
        Mlms.model_validate({**keys, "alignment": {"pooling": "cls"}}).check(Avqa(), HEAR_SEE)
    Mlms.model_validate({**keys, "alignment": {"pooling": "mean"}}).check(Avqa(), HEAR_SEE)


def test_the_slide_is_called_what_it_was_before_there_was_a_choice() -> None:
    """In what artifacts are named by; another selection is in it and survives JSON."""
    assert "selection" not in Mlms().model_dump_json()
    for features in Mlms().features(Avqa(), "audio", HEAR_SEE)["audio"]:
        assert set(features.model_dump()["sliding"]) == {
            *("counts", "with_summary", "rounding", "dtype")
        }
    assert Mlms.model_validate(Mlms().model_dump()) == Mlms() == _system("slide")
    for selection in ("mean-pool", "norm", "attention", "learned"):
        system = _system(selection)
        assert system != Mlms()
        assert Mlms.model_validate_json(system.model_dump_json()) == system
        (one, *_) = system.features(Avqa(), "audio", HEAR_SEE)["audio"]
        assert type(one).model_validate_json(one.model_dump_json()) == one


def test_a_learned_selection_shares_the_slides_store() -> None:
    """It selects from all tokens, whatever number is sent; its scorer is the device's work."""
    task = Avqa()
    (slid, *_) = Mlms().features(task, "audio", HEAR_SEE)["audio"]
    (every, *_) = _system("learned").features(task, "audio", HEAR_SEE)["audio"]
    joined = slid.joined(every)
    assert joined is not None
    assert joined.covers(slid)
    assert joined.covers(every)
    (normed, *_) = _system("norm").features(task, "audio", HEAR_SEE)["audio"]
    assert slid.joined(normed) is None
    windows = {"audio": 1.0}
    costs = {
        selection: _system(selection).device_gflop(task, "audio", HEAR_SEE, windows, HEAR_SEE)
        for selection in ("slide", "norm", "learned")
    }
    shape = Ast().shape()
    assert costs["norm"] == costs["slide"]
    assert costs["learned"] - costs["slide"] == pytest.approx(2e-9 * 50 * shape.width)
