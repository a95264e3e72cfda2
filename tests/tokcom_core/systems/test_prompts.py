"""Prompts and conversations of TaiChi's language model, with and without a chat template."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config

from tokcom_core.answers import IGNORED
from tokcom_core.checkpoints import POCKET_IMAGES
from tokcom_core.systems.taichi.prompts import Words, count_markup, read_markup

CHATML = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "<bos>{% for m in messages %}<start_of_turn>"
    "{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n{{ m['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}<bos>[INST] {{ m['content'] }} [/INST]"
    "{% else %} {{ m['content'] }} <eos>{% endif %}{% endfor %}"
)
ENDS = {CHATML: "<|im_end|>", GEMMA: "<end_of_turn>", LLAMA2: "<eos>"}
IMAGE, QUESTION, ANSWER = "IMAGE", "what color is the cube?", "Red, I think."
SECOND = ("and its size?", "Large.")


def save_tokenizer(folder: Path, template: str | None) -> str:
    """A byte-level tokenizer, as Qwen has one, whose texts begin with a token, as Gemma's do."""
    special = ["<bos>", "<eos>", *{*ENDS.values()} - {"<eos>"}, "<|im_start|>", "<start_of_turn>"]
    own = Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet)
    own.train_from_iterator([IMAGE, QUESTION, ANSWER, *SECOND, "user model assistant"], trainer)
    first = [("<bos>", own.token_to_id("<bos>"))]
    own.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=first)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=own, bos_token="<bos>", eos_token="<eos>", chat_template=template
    )
    tokenizer.add_special_tokens({"additional_special_tokens": special[2:]})
    tokenizer.save_pretrained(folder)
    Qwen2Config(vocab_size=len(tokenizer)).save_pretrained(folder)
    return str(folder)


def in_one_piece(folder: str, template: str, about_image: str, asks: bool) -> list[int]:
    """Ids of a chat about an image as the template writes it."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    turns = [{"role": "user", "content": about_image}]
    if not asks:
        turns += [{"role": "assistant", "content": ANSWER}]
        turns += [{"role": "user", "content": SECOND[0]}]
        turns += [{"role": "assistant", "content": SECOND[1]}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
    # Spaces around Llama-2's responses: SentencePiece makes the first, the other is left out.
    text = text.replace("[/INST] ", "[/INST]").replace(" <eos>", "<eos>")
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not asks:  # nothing is said behind the last turn's end
        last = len(ids) - ids[::-1].index(tokenizer.convert_tokens_to_ids(ENDS[template]))
        ids = ids[:last]
    return ids


@pytest.mark.parametrize("order", ["image-first", "instruction-first"])
@pytest.mark.parametrize("template", ENDS, ids=["chatml", "gemma", "llama-2"])
def test_prompts_and_conversations_are_those_of_the_chat_template(
    template: str, order: str, tmp_path: Path
) -> None:
    name = save_tokenizer(tmp_path, template)
    words = Words(name, order, 64)  # type: ignore[arg-type]
    image = words.ids(IMAGE)
    shown = f"{IMAGE}\n{QUESTION}" if order == "image-first" else f"{QUESTION}\n{IMAGE}"

    asked = words.prompts([QUESTION])
    before, after = asked.before[0].tolist(), asked.after[0].tolist()
    assert before + image + after == in_one_piece(name, template, shown, asks=True)
    assert count_markup(name) == len(before + after) - len(words.ids(QUESTION))
    assert (asked.labels == IGNORED).all()

    told = words.conversations([json.dumps([[QUESTION, ANSWER], SECOND])], 512)
    before, after = told.before[0].tolist(), told.after[0].tolist()
    assert before + image + after == in_one_piece(name, template, shown, asks=False)
    responses = [token for token in told.labels[0].tolist() if token != IGNORED]
    texts = sum(len(words.ids(text)) for text in (QUESTION, ANSWER, *SECOND))
    markup = read_markup(PreTrainedTokenizerFast.from_pretrained(name)).count_turn
    assert len(after) <= texts + 2 * markup  # what is said to be cut is no less than what is
    assert responses == [*words.ids(ANSWER), words.end, *words.ids(SECOND[1]), words.end]
    assert words.answers([ANSWER])[0].tolist() == responses[: len(words.ids(ANSWER)) + 1]


def test_a_caption_stands_where_the_image_does(tmp_path: Path) -> None:
    words = Words(save_tokenizer(tmp_path, CHATML), "image-first", 64)
    image, caption = words.prompts([QUESTION]), words.prompts([QUESTION], [IMAGE], 64)
    assert caption.before.tolist() == image.before.tolist()
    assert caption.after[0].tolist() == words.ids(IMAGE) + image.after[0].tolist()


def test_without_a_chat_template_parts_are_lines(tmp_path: Path) -> None:
    name = save_tokenizer(tmp_path, None)
    words = Words(name, "image-first", 64)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(name)

    told = words.conversations([json.dumps([[QUESTION, ANSWER], SECOND])], 512)
    whole = f"\n{QUESTION}\n{ANSWER}<eos>\n{SECOND[0]}\n{SECOND[1]}<eos>"
    found = told.before[0].tolist() + told.after[0].tolist()
    assert found == tokenizer(whole)["input_ids"]  # which begins with <bos>


def test_a_prompt_is_the_same_every_day(tmp_path: Path) -> None:
    """Templates such as Llama-3.2's tell the date, which they ask for when they are rendered."""
    dated = "{% set today = strftime_now('%d %b %Y') %}Today is {{ today }}.\n" + CHATML
    tokenizer = PreTrainedTokenizerFast.from_pretrained(save_tokenizer(tmp_path, dated))
    told = tokenizer.decode(read_markup(tokenizer).opening)
    assert told.startswith("Today is 26 Jul 2024.")
    assert told.endswith("<|im_start|>user\n")


def test_a_turn_may_end_with_a_token_that_is_only_added(tmp_path: Path) -> None:
    """As Phi-3's does: it is special, and yet not among the tokenizer's special tokens."""
    name = save_tokenizer(tmp_path, CHATML)
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    kept = {key: own for key, own in config.items() if "special" not in key}
    file.write_text(json.dumps(kept))
    (tmp_path / "special_tokens_map.json").unlink(missing_ok=True)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(name)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert end not in tokenizer.all_special_ids
    assert read_markup(tokenizer).end == end


def test_a_chat_template_that_does_not_show_an_answer_is_refused(tmp_path: Path) -> None:
    name = save_tokenizer(tmp_path, "{{ messages[0]['content'] }}")
    with pytest.raises(ValueError, match=r"chat template of .* does not show every text"):
        Words(name, "image-first", 64)


def test_a_chat_template_that_refuses_an_assistant_is_refused(tmp_path: Path) -> None:
    name = save_tokenizer(tmp_path, "{{ raise_exception('users alone') }}")
    with pytest.raises(ValueError, match=r"chat template of .* does not show every text"):
        Words(name, "image-first", 64)


def test_answers_that_are_cut_have_no_end() -> None:
    words = Words(POCKET_IMAGES, "image-first", 8)
    short, long = "red", "red blue green"
    one, two, three = (words.ids(own)[0] for own in long.split())
    end, pad = words.end, IGNORED
    assert words.answers([short, long], 2).tolist() == [[one, end, pad], [one, two, three]]
    assert words.answers([short, long], 3).tolist() == [
        [one, end, pad, pad],
        [one, two, three, end],
    ]
    assert words.answers([long]).tolist() == [[one, two, three, end]]
    assert words.answer_inputs([short, long], 2).tolist() == [[one, pad], [one, two]]
    assert words.answer_inputs([short], 2).tolist() == [[one]]
