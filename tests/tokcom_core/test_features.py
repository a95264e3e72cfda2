from __future__ import annotations

import errno
import math
import re
import shutil
import wave
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from tokcom_core.checkpoints import POCKET_IMAGES, pocket_folder
from tokcom_core.datasets.layout import MUSIC_AVQA, sound_file
from tokcom_core.datasets.samples import read_samples
from tokcom_core.encoders import Ast, Clip, MediaEncoder
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.encoders.text import StateEncoder
from tokcom_core.features import (
    MediaFeatures,
    Sliding,
    TextFeatures,
    TextStates,
    open_features,
    open_states,
    write_features,
    write_states,
)
from tokcom_core.slide import slide
from tokcom_core.tasks import Avqa


def test_stored_tokens_are_the_encoders(
    minimusic: Path, tokens: dict[str, dict[str, Path]]
) -> None:
    store = open_features(tokens["audio"]["test"])
    encoder = AudioEncoder("pocket")
    media_id = next(iter(store.row))
    (fresh,) = encoder.encode([encoder.read(sound_file(minimusic / MUSIC_AVQA, media_id))])
    stored = store.select([media_id], encoder.length - encoder.summary_tokens)
    patches = fresh[:, encoder.summary_tokens :]
    torch.testing.assert_close(stored, patches, rtol=2e-3, atol=2e-3)  # half precision


def test_what_is_timed_is_what_is_stored(minimusic: Path, tmp_path: Path) -> None:
    """A device encodes one clip, or text, at a time; a text of words alone is looked up."""
    samples = Avqa().samples(minimusic, "test").take(range(2))
    sliding = Sliding(counts=(6,), dtype="float32")
    media = MediaFeatures(
        medium="audio", dataset=MUSIC_AVQA, splits=("test",), encoder=Ast(), sliding=sliding
    )
    states = TextStates(
        columns=("question",), checkpoint=POCKET_IMAGES, layer=2, max_tokens=5, splits=("test",)
    )
    for own in (media, states):
        (tmp_path / own.kind).mkdir()
        own.write(tmp_path / own.kind, Avqa(), minimusic, "cpu")
    sounds, texts = (
        [run() for run in own.encodings(Avqa(), minimusic, samples, "cpu")]
        for own in (media, states)
    )
    stored = open_features(tmp_path / "media").select(samples.media_id, 6)
    summaries = AudioEncoder("pocket").summary_tokens
    for ((tokens, attention),), kept in zip(sounds, stored, strict=True):
        torch.testing.assert_close(sliding.selected(tokens, attention, summaries), kept)
    padded, valid = open_states(tmp_path / "states").select(samples["question"], 99)
    for (alone,), own, real in zip(texts, padded, valid, strict=True):
        torch.testing.assert_close(alone[0], own[real], rtol=2e-3, atol=2e-3)  # half precision
    words = TextFeatures(splits=("test",), columns=("question",), checkpoint="pocket")
    assert not list(words.encodings(Avqa(), minimusic, samples, "cpu"))


def test_only_the_asked_lengths_are_kept(minimusic: Path, tmp_path: Path) -> None:
    encoder = AudioEncoder("pocket")
    clips = list(dict.fromkeys(Avqa().samples(minimusic, "val").media_id))[:3]
    sounds = partial(sound_file, minimusic / MUSIC_AVQA)
    sliding = Sliding(counts=(4, 6), with_summary=True)
    write_features(tmp_path, encoder, sounds, clips, sliding)
    store = open_features(tmp_path)
    assert isinstance(store.tokens, np.memmap)
    assert store.tokens.shape == (len(clips), 4 + 6, encoder.width)
    (whole,) = encoder.encode([encoder.read(sounds(clips[1]))])
    for count in (4, 6):
        expected = whole[:, slide(encoder.length, count)]
        torch.testing.assert_close(store.select([clips[1]], count), expected, rtol=2e-3, atol=2e-3)
    with pytest.raises(ValueError, match="has no 9 tokens of a clip, it has those of 4, 6"):
        store.select(clips[:1], 9)


def test_damaged_clips_are_skipped_and_named(minimusic: Path, tmp_path: Path) -> None:
    """Whether they cannot be read or not be encoded."""
    encoder = AudioEncoder("pocket")
    clips = list(dict.fromkeys(Avqa().samples(minimusic, "val").media_id))[:3]
    _write_sound(sound_file(tmp_path, "short"), 399)
    for clip in clips:
        shutil.copy(sound_file(minimusic / MUSIC_AVQA, clip), sound_file(tmp_path, clip))
    sounds, sliding = partial(sound_file, tmp_path), Sliding(counts=(3,))
    damaged = write_features(tmp_path, encoder, sounds, ["missing", "short", *clips], sliding)
    assert list(damaged) == ["missing", "short"]
    assert "too short for a spectrogram" in damaged["short"]
    store = open_features(tmp_path)
    assert list(store.row) == clips
    assert store.damaged == damaged
    with pytest.raises(ValueError, match="none of 1 media"):
        write_features(tmp_path, encoder, sounds, ["missing"], sliding)


def test_a_clip_that_the_encoder_refuses_is_not_called_readable(
    minimusic: Path, tmp_path: Path
) -> None:
    """No repair of its file could change anything, unlike one that was missing and is there now."""
    clip, *_ = Avqa().samples(minimusic, "val").media_id
    own = tmp_path / MUSIC_AVQA
    sounds, sliding = partial(sound_file, own), Sliding(counts=(3,))
    _write_sound(sounds("short"), 100)
    shutil.copy(sound_file(minimusic / MUSIC_AVQA, clip), sounds(clip))
    write_features(tmp_path, AudioEncoder("pocket"), sounds, ["missing", "short", clip], sliding)
    features = MediaFeatures(
        medium="audio", dataset=MUSIC_AVQA, splits=("val",), encoder=Ast(), sliding=sliding
    )
    assert features.repaired(tmp_path, Avqa(), tmp_path) == set()
    shutil.copy(sounds(clip), sounds("missing"))
    assert features.repaired(tmp_path, Avqa(), tmp_path) == {"missing"}


def test_where_extraction_would_help_it_is_asked_for(minimusic: Path, tmp_path: Path) -> None:
    """And nowhere else: there is nothing to extract an image from."""
    for name in ("annotation", "video"):
        source = minimusic / MUSIC_AVQA / name
        (tmp_path / MUSIC_AVQA).mkdir(exist_ok=True)
        (tmp_path / MUSIC_AVQA / name).symlink_to(source)
    keys = {"dataset": MUSIC_AVQA, "splits": ("val",), "sliding": Sliding(counts=(3,))}
    audio = MediaFeatures(medium="audio", encoder=Ast(), **keys)
    with pytest.raises(ValueError, match=r"no audio of .* is extracted.* 'tokcom data prep"):
        audio.write(tmp_path / "store", Avqa(), tmp_path, "cpu")
    with pytest.raises(ValueError, match="none of 2 media can be encoded: a: ") as caught:
        write_features(tmp_path, Clip().build("cpu"), tmp_path.joinpath, ["a", "b"], Sliding((3,)))
    assert "data prepare" not in str(caught.value)


def test_samples_without_the_medium_are_absent_not_damaged(tmp_path: Path) -> None:
    """Zeros are read in their place, and the store says so; nobody else's id is forgiven."""
    files = {"a": tmp_path / "a", "text": None, "b": tmp_path / "b"}
    sliding = Sliding(counts=(2,))
    assert write_features(tmp_path, _Loud(3.0), files.get, list(files), sliding) == {}
    store = open_features(tmp_path)
    assert store.row == {"a": 0, "b": 1}
    assert store.damaged == {}
    ids = ["text", "b", "text", "a"]
    assert store.present(ids).tolist() == [False, True, False, True]
    assert store.select(ids, 2).mean(dim=(1, 2)).tolist() == [0, 3, 0, 3]
    assert store.mean_windows(ids) == 0.5
    with pytest.raises(KeyError, match="stranger"):
        store.select(["stranger"], 2)


def test_a_data_set_without_the_medium_has_an_empty_store(tmp_path: Path) -> None:
    write_features(tmp_path, _Loud(3.0), {}.get, ["x", "y"], Sliding(counts=(2,)))
    store = open_features(tmp_path)
    assert not store.row
    assert torch.equal(store.select(["y", "x"], 2), torch.zeros(2, 2, 4))


def test_the_slide_goes_over_all_windows_of_a_sound(tmp_path: Path) -> None:
    """The pocket AST hears 4 s at once; class tokens of every window are left out."""
    _write_sound(sound_file(tmp_path, "long"), 11 * 16_000)
    _write_sound(sound_file(tmp_path, "short"), 16_000)
    encoder = AudioEncoder("pocket", span="whole")
    sounds, sliding = partial(sound_file, tmp_path), Sliding(counts=(16, 120))
    damaged = write_features(tmp_path, encoder, sounds, ["long", "short"], sliding)
    assert damaged == {"short": "cannot slide to 120 of 50 tokens; choose 1 to 50"}
    store = open_features(tmp_path)
    (whole,) = encoder.encode([encoder.read(sound_file(tmp_path, "long"))])
    patches = whole[:, 2:].flatten(0, 1)
    assert patches.shape == (3 * 50, encoder.width)
    expected = patches[slide(150, 16)][None]
    torch.testing.assert_close(store.select(["long"], 16), expected, rtol=2e-3, atol=2e-3)
    assert store.mean_windows(["long"]) == 3
    write_features(tmp_path, encoder, sounds, ["long", "short"], Sliding(counts=(16,)))
    assert open_features(tmp_path).mean_windows(["long", "short", "short", "long"]) == 2


class _Loud(MediaEncoder):
    """Makes tokens of any size."""

    name, length, width, summary_tokens = "loud", 2, 4, 0

    def __init__(self, size: float) -> None:
        self._size = size

    def read(self, file: Path) -> Tensor:
        return torch.ones(1, 1)

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return [torch.full((1, 2, 4), self._size)] * len(clips)


def test_what_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"clip a: .* 1e\+05 .* feature_dtype of the system, .* to float32"
    ):
        write_features(tmp_path, _Loud(1e5), tmp_path.joinpath, ["a"], Sliding(counts=(2,)))
    exact = Sliding(counts=(2,), dtype="float32")
    write_features(tmp_path, _Loud(1e5), tmp_path.joinpath, ["a"], exact)
    assert float(open_features(tmp_path).select(["a"], 2).max()) == 1e5
    with pytest.raises(ValueError, match="a: the encoder makes tokens of it that are not finite"):
        write_features(tmp_path, _Loud(math.nan), tmp_path.joinpath, ["a"], Sliding(counts=(2,)))


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ([torch.ones(1, 2, 3)], "[windows, 2, 4] of a file, gave float32 [1, 2, 3]"),
        ([torch.ones(2, 4)], "[windows, 2, 4] of a file, gave float32 [2, 4]"),
        ([torch.ones(1, 2, 4) * 1j], "[windows, 2, 4] of a file, gave complex64 [1, 2, 4]"),
        ([np.ones((1, 2, 4))], "[windows, 2, 4] of a file, gave ndarray"),
        ([], "tokens of each of 1 files, gave 0"),
    ],
)
def test_what_an_encoder_gives_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[Tensor], complaint: str
) -> None:
    monkeypatch.setattr(_Loud, "encode", lambda self, clips: given)
    with pytest.raises(ValueError, match=rf"_Loud\.encode should give .*{re.escape(complaint)}"):
        write_features(tmp_path, _Loud(1.0), tmp_path.joinpath, ["a"], Sliding(counts=(2,)))


def _write_sound(file: Path, samples: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(-3000, 3000, samples).astype("<i2")
    with wave.open(str(file), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(noise.tobytes())


def test_samples_survive_their_file_and_can_be_thinned(minimusic: Path, tmp_path: Path) -> None:
    samples = Avqa().samples(minimusic, "test")
    samples.write(tmp_path / "s.parquet")
    assert read_samples(tmp_path / "s.parquet") == samples
    clip = samples.media_id[0]
    assert set(samples.keep([clip]).media_id) == {clip}
    assert all(samples["caption"])
    samples.keep([clip]).write(tmp_path / "s.parquet")
    file = tmp_path / "s.parquet"
    assert set(read_samples(file).media_id) == {clip}
    whole = file.read_bytes()
    for damaged in (b"", whole[:-9], whole[:4] + b"\0" * (len(whole) - 12) + whole[-8:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"s\.parquet is damaged .*; remove it, and the next"):
            read_samples(file)


def test_samples_that_cannot_be_reached_are_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.parquet"
    file.write_bytes(b"good")

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pyarrow.parquet.read_table", refuse)
    with pytest.raises(PermissionError):
        read_samples(file)


def test_majority_answer_by_template(minimusic: Path) -> None:
    samples = Avqa().samples(minimusic, "train")
    by_hand = 0
    for template in set(samples["template"]):
        answers = [
            a for a, t in zip(samples.answer, samples["template"], strict=True) if t == template
        ]
        by_hand += max(answers.count(a) for a in answers)
    assert Avqa().majority_accuracy(samples, samples) == pytest.approx(by_hand / len(samples))


def test_stored_states_are_the_language_models_own(tmp_path: Path) -> None:
    """Of texts of different lengths, padded in a batch: those of each text alone."""
    model = AutoModel.from_pretrained(
        pocket_folder(POCKET_IMAGES) / "language", dtype=torch.float32
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(pocket_folder(POCKET_IMAGES) / "language")
    texts = ["is there a red cube ?", "how many large things are there ?", "is there a red cube ?"]
    for layer in (2, -1):
        folder = tmp_path / str(layer)
        folder.mkdir()
        write_states(folder, StateEncoder(POCKET_IMAGES, layer, "cpu"), texts, max_tokens=9)
        store = open_states(folder)
        states, valid = store.select(texts[:2], longest=7)
        assert [int(own.sum()) for own in valid] == [6, 7]
        assert store.select(texts[:2], longest=3)[0].shape == (2, 3, store.width)
        for text, own, real in zip(texts, states, valid, strict=False):
            with torch.no_grad():
                whole = model(**tokenizer(text, return_tensors="pt"), output_hidden_states=True)
            expected = whole.hidden_states[layer][0]
            torch.testing.assert_close(own[real], expected, rtol=2e-3, atol=2e-3)  # half precision
            assert not own[~real].any()


def test_a_text_that_is_longer_than_bert_reads_is_cut_between_its_special_tokens(
    tmp_path: Path,
) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(str(tmp_path / "vocab.txt"))
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=16,
    )  # fmt: skip
    model = BertModel(config).eval()
    model.save_pretrained(tmp_path)
    text = "a b c " * 10
    folder = tmp_path / "states"
    folder.mkdir()
    write_states(folder, StateEncoder(str(tmp_path), -1, "cpu"), [text], max_tokens=6)
    states, valid = open_states(folder).select([text], longest=6)
    assert valid.all()
    ids = tokenizer.convert_tokens_to_ids(["[CLS]", "a", "b", "c", "a", "[SEP]"])
    with torch.no_grad():
        expected = model(torch.tensor([ids])).last_hidden_state
    torch.testing.assert_close(states, expected, rtol=2e-3, atol=2e-3)
