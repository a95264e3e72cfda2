"""Questions and captions that the language model can read, answers that it can say."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerBase, Qwen2Config, Qwen2Tokenizer

from tokcom_core.checkpoints import pocket_folder
from tokcom_core.checkpoints.loading import load_tokenizer
from tokcom_core.datasets.annotations import read_music_avqa, read_valor
from tokcom_core.datasets.layout import MUSIC_AVQA, annotation_file
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa
from tokcom_core.tasks.llava import Llava
from tokcom_core.tasks.multitask import Multitask
from tokcom_core.tasks.reviews import Sst2
from tokcom_core.vocabulary import (
    TextLimit,
    check_answer_lengths,
    check_answers,
    check_conversations,
    check_questions,
    check_texts,
    check_training_answers,
    warn_of_unknown_words,
)

from .tasks.published import write, write_sst2
from .test_annotations import REAL, needs_real_data


@pytest.fixture(scope="module")
def pocket() -> PreTrainedTokenizerBase:
    return load_tokenizer("pocket")


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """A Qwen2's tokenizer with a token for every byte and a few words."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokens = [*sorted(ByteLevel.alphabet()), "ye", "yes", "no", "Ġno", "<|endoftext|>"]
    Qwen2Tokenizer(
        {token: i for i, token in enumerate(tokens)},
        [("y", "e"), ("ye", "s"), ("n", "o"), ("Ġ", "no")],
    ).save_pretrained(folder)
    Qwen2Config(vocab_size=len(tokens)).save_pretrained(folder)
    return load_tokenizer(str(folder))


@pytest.fixture(scope="module")
def broken() -> PreTrainedTokenizerBase:
    """What AutoTokenizer made of the pocket folder when it took Qwen2's rules for it."""
    return Qwen2Tokenizer.from_pretrained(pocket_folder() / "language")


def test_minimusic_can_be_read_and_said(
    minimusic: Path, pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    captions = Avqa().samples(minimusic, "align")["caption"]
    assert warn_of_unknown_words(pocket, captions, "captions") == 0
    for split in ("train", "val", "test"):
        samples = Avqa().samples(minimusic, split)
        assert warn_of_unknown_words(pocket, samples["question"], "questions") == 0
        check_answers(pocket, samples.answer)
        check_answer_lengths(pocket, samples.answer, 8)
    assert not caplog.records


@needs_real_data
def test_a_real_vocabulary_reads_and_says_the_real_data(
    byte_level: PreTrainedTokenizerBase, pocket: PreTrainedTokenizerBase
) -> None:
    for split in ("val", "test"):
        questions = read_music_avqa(annotation_file(REAL / MUSIC_AVQA, "avqa", split))
        assert warn_of_unknown_words(byte_level, [q.text for q in questions], "questions") == 0
        check_answers(byte_level, [q.answer for q in questions])
    captions = list(read_valor(REAL / "VALOR" / "annotation" / "desc_val.json").values())[:500]
    assert warn_of_unknown_words(byte_level, captions, "captions") == 0
    assert warn_of_unknown_words(pocket, captions, "captions") > 0.3


def test_unknown_words_are_counted_and_named(
    pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["Where is the zebra?"] * 3 + ["where is the gnu?", "where is the violin?"]
    with caplog.at_level(logging.WARNING):
        fraction = warn_of_unknown_words(pocket, texts, "questions")
    assert fraction == pytest.approx(4 / 25)
    assert caplog.record_tuples == [
        (
            "tokcom_core.vocabulary",
            logging.WARNING,
            "16.0 % of the words of the questions are unknown to the language model, "
            "most often 'zebra', 'gnu'",
        )
    ]


def test_few_unknown_words_are_no_news(
    pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["where is the zebra?", *["where is the violin?"] * 30]
    assert 0 < warn_of_unknown_words(pocket, texts, "questions") < 0.01
    assert warn_of_unknown_words(pocket, ["", ""], "captions") == 0
    assert not caplog.records


def test_words_that_vanish_are_unknown(
    broken: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    """They have no token at all, not even an unknown one."""
    assert broken("yes")["input_ids"] == []
    assert warn_of_unknown_words(broken, ["where is the violin"], "questions") > 0.5
    with pytest.raises(ValueError, match="cannot say 2 of the 2 answers, such as 'yes', 'left'"):
        check_answers(broken, ["yes", "left"])


@pytest.mark.parametrize("answer", ["zebra", "more than ten zebras", "", " ", "<eos>"])
def test_an_answer_that_cannot_be_said_is_refused(
    answer: str, pocket: PreTrainedTokenizerBase
) -> None:
    with pytest.raises(ValueError, match="cannot say 1 of the 3 answers") as error:
        check_answers(pocket, ["yes", answer, "no", "yes"])
    assert repr(answer) in str(error.value)
    assert "models.language" in str(error.value)


def test_an_answer_is_compared_as_exact_match_does(
    pocket: PreTrainedTokenizerBase, byte_level: PreTrainedTokenizerBase
) -> None:
    check_answers(pocket, ["Yes", "left", "front left"])
    check_answers(byte_level, ["yes", "no", "más de diez", "Simultaneously"])
    assert json.dumps(byte_level.decode(byte_level("más")["input_ids"])) == json.dumps("más")


def test_many_texts_are_tokenised_once_each(
    pocket: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    call = type(pocket).__call__

    def counting(self: PreTrainedTokenizerBase, text: list[str], **options: object) -> object:
        seen.extend(text)
        return call(self, text, **options)

    monkeypatch.setattr(type(pocket), "__call__", counting)
    texts = [f"where is the violin {i % 10_000}" for i in range(100_000)]
    assert warn_of_unknown_words(pocket, texts, "questions") == pytest.approx(1 / 5)
    assert len(seen) == 10_000


def test_answers_longer_than_what_is_generated_are_refused(pocket: PreTrainedTokenizerBase) -> None:
    check_answer_lengths(pocket, ["front left", "yes"], 2)
    with pytest.raises(ValueError, match=r"'front left' takes 2 tokens.*max_answer_tokens"):
        check_answer_lengths(pocket, ["front left", "yes"], 1)


def _asked(answers: dict[str, str], *questions: str) -> dict[str, Samples]:
    """A sample for each question in every split, with one answer in each split."""
    ids = tuple(str(i) for i in range(len(questions)))
    return {
        split: Samples(
            {
                "sample_id": ids,
                "media_id": ids,
                "group": ids,
                "answer": (answer,) * len(ids),
                "question": questions,
                "caption": ids,
            }
        )
        for split, answer in answers.items()
    }


_YES = dict.fromkeys(("train", "val", "test"), "yes")


def test_answers_that_are_only_trained_on_may_be_longer(pocket: PreTrainedTokenizerBase) -> None:
    check_texts(pocket, Avqa(), _asked(_YES | {"train": "front left"}, "where?"), 1)
    with pytest.raises(ValueError, match="'front left' takes 2 tokens"):
        check_texts(pocket, Avqa(), _asked(_YES | {"val": "front left"}, "where?"), 1)


def test_conversations_that_are_only_trained_on_are_no_answers(
    byte_level: PreTrainedTokenizerBase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """LLaVA's have a split to validate on, but nobody scores them."""
    write_sst2(tmp_path)
    said = [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "A long reply, <unk>."}]
    rows = [{"id": str(i), "conversations": said} for i in range(4)]
    write(tmp_path / "LLaVA" / "llava_v1_5_mix665k.json", rows)
    task = Multitask(tasks=(Sst2(), Llava()))
    samples = {split: task.samples(tmp_path, split) for split in task.splits}
    assert said[1]["value"] in samples["val"].answer
    check_texts(byte_level, task, samples, 8)
    assert not caplog.records
    with pytest.raises(ValueError, match="'positive' takes 8 tokens"):
        check_texts(byte_level, task, samples, 7)


def test_conversations_that_training_cuts_are_told(
    pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    """Long instructions are cut before, and each response has an end."""
    short = [("where is the violin", "front left")]
    conversations = [short, short * 2, short, short]
    instruction, limit = (TextLimit(3, "instruction_tokens"), TextLimit(11, "conversation_tokens"))
    assert check_conversations(pocket, conversations, instruction, TextLimit(12, "")) == 0
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert check_conversations(pocket, conversations, instruction, limit) == 0.25
    assert "25.0 % of the conversations in training are cut" in caplog.text
    assert "11 tokens of conversation_tokens; the longest has 12" in caplog.text


def test_answers_that_training_cuts_are_told(
    pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    answers = ["yes", "front left", "yes", "no"]
    assert check_training_answers(pocket, answers, TextLimit(2, "answer_tokens")) == 0
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert check_training_answers(pocket, answers, TextLimit(1, "answer_tokens")) == 0.25
    said = (
        "25.0 % of the answers in training are cut, being longer than the 1 tokens of answer_tokens"
    )
    assert f"{said}; the longest has 2" in caplog.text


def test_questions_that_are_cut_are_told(
    pocket: PreTrainedTokenizerBase, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a template as long as what is read, nothing says what is asked."""
    template = "is the violin in the middle : "
    samples = _asked(_YES, *(f"{template}{what}" for what in ("yes", "no", "left")), "where?")
    size = len(pocket(f"{template}yes", add_special_tokens=False)["input_ids"])
    assert check_questions(pocket, Avqa(), samples, TextLimit(size, "question_tokens")) == 0
    assert not caplog.records
    with pytest.raises(ValueError, match=rf"^75% .* first {size - 1} tokens.* to {size}$"):
        check_questions(pocket, Avqa(), samples, TextLimit(size - 1, "question_tokens"))
    samples = _asked(_YES, "where is the violin", "how many violins", "yes", "no")
    with caplog.at_level(logging.WARNING):
        assert check_questions(pocket, Avqa(), samples, TextLimit(2, "question_tokens")) == 0.5
    assert "2 tokens of question_tokens; the longest has 4" in caplog.text
    assert (
        check_questions(pocket, Avqa(), samples, TextLimit(5, "text.max_words", special_tokens=1))
        == 0
    )
    assert (
        check_questions(pocket, Avqa(), samples, TextLimit(5, "text.max_words", special_tokens=2))
        == 0.25
    )
