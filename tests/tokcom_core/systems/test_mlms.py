"""Paper 1's system: the contract, its losses equation by equation, and what each stage trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, Phi3Config, PreTrainedConfig

from tokcom_core.datasets.samples import Samples
from tokcom_core.features import TextFeatures
from tokcom_core.systems import Phase, Received, StreamInput
from tokcom_core.systems.mlms import Mlms
from tokcom_core.systems.mlms.alignment import info_nce
from tokcom_core.systems.mlms.receiver import MlmsReceiver
from tokcom_core.systems.mlms.transceiver import pool
from tokcom_core.systems.tokens import reconstruction_loss, unpack
from tokcom_core.tasks import Avqa, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.instructions import COLUMNS
from tokcom_core.testing import ROWS, SystemCase, SystemContract, Unsplit, handed_over
from tokcom_core.testing.case import seeded

from ..pictures import Pictures, write_language, write_models, write_pictures

TOKENS = {"audio": 6, "vision": 6}

CaseOf = Callable[..., SystemCase]


@pytest.fixture(scope="module")
def case_of(tokens: dict[str, dict[str, Path]]) -> CaseOf:
    """The system with some keys, on the shared tokens."""

    def build(**keys: Any) -> SystemCase:
        system = Mlms.model_validate({"caption_tokens": 64, **keys})
        budgets = {name: TOKENS[name] for name in system.budgets(Avqa())}
        features = {name: {name: tokens[name]} for name in (*budgets, "text")}
        return SystemCase(system, Avqa(), budgets, tokens["samples"], features)

    return build


class TestMlms(SystemContract):
    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of()


class TestLearnedSelection(SystemContract):
    """Devices that learn which tokens to send."""

    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(models={"selection": "learned"})


@pytest.mark.parametrize("selection", ["slide", "learned"])
def test_a_transmitter_sends_other_lengths_by_the_same_weights(
    case_of: CaseOf, selection: str
) -> None:
    case = case_of(models={"selection": selection})
    long = {"audio": 50, "vision": 117}
    unsplit, expected = case.unsplit(), replace(case, tokens=long).unsplit()
    own = {medium: StreamInput(medium, "train") for medium in TOKENS}
    short = {medium: unsplit.send(stream)[0] for medium, stream in own.items()}
    for lengths, wanted in (
        (long, {m: expected.send(s)[0] for m, s in own.items()}),
        (TOKENS, short),
    ):
        for medium, stream in own.items():
            unsplit.transmitters[medium].set_length(lengths[medium])
            symbols, _ = unsplit.send(stream)
            assert symbols.shape[1] == lengths[medium] * case.streams[medium].symbols_per_token
            assert torch.equal(symbols, wanted[medium])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> CaseOf:
    """The same system on questions about images, with tiny models."""
    root = write_pictures(tmp_path_factory.mktemp("data"))
    models = write_models(tmp_path_factory.mktemp("models"))
    encoders = {"clip": models["low"], "convnext": models["high"]}

    def build(
        task: Task, encoder: str = "clip", selection: str = "slide", **keys: Any
    ) -> SystemCase:
        own = {"language": models["language"], "image": encoders[encoder], "receiver_width": 24}
        system = Mlms.model_validate({"models": {**own, "selection": selection}, **keys})
        tokens = dict.fromkeys(system.budgets(task), 4)
        folder = tmp_path_factory.mktemp("case")
        return SystemCase.prepare(system, task, tokens, root, folder)

    return build


class TestImages(SystemContract):
    """The contract on a task about images."""

    @pytest.fixture(scope="class")
    def case(self, pictures: CaseOf) -> SystemCase:
        return pictures(Pictures(mixed=False))

    def test_what_is_sent_follows_from_the_task(self, case: SystemCase) -> None:
        alignment, fine_tuning = case.phases
        assert [(own.stream, own.split) for own in alignment.inputs] == [
            ("image", "pretraining"),
            ("caption", "pretraining"),
            ("question", "train"),
        ]
        assert "contrastive_image" in alignment.losses
        assert case.system.served(case.task) == ("image", "question")
        assert fine_tuning.dropped == ("image",)
        assert case.streams["question"].text == "instruction"


class TestImagesByConvnext(SystemContract):
    @pytest.fixture(scope="class")
    def case(self, pictures: CaseOf) -> SystemCase:
        return pictures(Pictures(mixed=False), "convnext", alignment="reconstruction")


class TestCaptionsOfImages(SystemContract):
    """Their upper reference."""

    @pytest.fixture(scope="class")
    def case(self, pictures: CaseOf) -> SystemCase:
        return pictures(Pictures(mixed=False), intact_texts=["caption", "instruction"])


class TestTextOracle(SystemContract):
    """A reference is a system, too."""

    @pytest.fixture(scope="class")
    def case(self, case_of: CaseOf) -> SystemCase:
        return case_of(intact_texts=["caption", "question"])

    def test_the_adapter_alone_learns(self, case: SystemCase) -> None:
        unsplit = case.unsplit()
        (phase,) = case.phases
        learning = {id(parameter) for parameter in unsplit.trainable(phase.name)}
        names = [n for n, p in unsplit.named_parameters().items() if id(p) in learning]
        assert names
        assert all("lora_" in name for name in names)


def _phase(case: SystemCase, name: str) -> Phase:
    return next(phase for phase in case.phases if phase.name == name)


def _gradients(unsplit: Unsplit, phase: Phase) -> dict[str, Tensor]:
    torch.stack(list(unsplit.losses(phase).values())).sum().backward()
    found = unsplit.named_parameters()
    return {name: p.grad for name, p in found.items() if p.grad is not None}


def _parts(names: set[str]) -> set[str]:
    """``audio.projection``, ``station.receivers.text`` and the like."""
    return {".".join(n.split(".")[: 3 if n.startswith("station.receivers") else 2]) for n in names}


def test_stage_1_is_equations_9_and_11(case_of: CaseOf) -> None:
    case = case_of(alignment={"temperature": 0.05})
    unsplit = case.unsplit()
    receiver, phase = unsplit.receiver, _phase(case, "alignment")
    assert isinstance(receiver, MlmsReceiver)
    width = receiver.foundation.token_width
    tokens, valid, sent = {}, {}, {}
    for own in phase.inputs:
        symbols, marks = unsplit.send(own)
        head = receiver.receivers[own.stream if own.stream in TOKENS else "text"]
        tokens[own.stream] = head(symbols, torch.zeros(symbols.shape))
        valid[own.stream] = marks[:, :: width // 2]
        sent[own.stream] = unpack(symbols, width)
    anchor = pool(tokens["caption"], valid["caption"], "mean")
    expected = {
        f"reconstruction_{s}": reconstruction_loss(tokens[s], sent[s], valid[s])
        for s in ("caption", "question")
    } | {
        f"contrastive_{m}": info_nce(pool(tokens[m], valid[m], "mean"), anchor, 0.05)
        for m in ("audio", "vision")
    }
    losses = unsplit.losses(phase)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])


def test_reconstruction_trains_the_text_receiver_alone(case_of: CaseOf) -> None:
    """Eq. (9) reaches G_T and nothing else; eq. (11) does not reach G_T, whose features anchor."""
    cases = {losses: case_of(alignment=losses) for losses in ("reconstruction", "contrastive")}
    alone, both = (_gradients(c.unsplit(), _phase(c, "alignment")) for c in cases.values())
    assert _parts(set(alone)) == {"station.receivers.text"}
    assert _parts(set(both)) == {
        "audio.projection",
        "vision.projection",
        "station.receivers.audio",
        "station.receivers.vision",
        "station.receivers.text",
    }
    for name, gradient in alone.items():
        torch.testing.assert_close(gradient, both[name])


def test_the_anchor_learns_from_the_contrastive_loss_where_it_should(case_of: CaseOf) -> None:
    """In the code of paper 1's authors the anchor is not detached."""
    found = {}
    for train_anchor in (False, True):
        case = case_of(alignment={"train_anchor": train_anchor})
        found[train_anchor] = _gradients(case.unsplit(), _phase(case, "alignment"))
    for name, gradient in found[True].items():
        same = torch.allclose(gradient, found[False][name])
        assert same != name.startswith("station.receivers.text"), name


def test_each_stage_trains_exactly_what_the_paper_trains(case_of: CaseOf) -> None:
    """Stage 1: projections and receivers. Stage 2: the adapter, too, and no frozen weight."""
    case = case_of()
    unsplit = case.unsplit()
    names = {id(p): name for name, p in unsplit.named_parameters().items()}
    learning = {p.name: {names[id(w)] for w in unsplit.trainable(p.name)} for p in case.phases}
    transceivers = {n for n in names.values() if "projection" in n.split(".") or "receivers" in n}
    adapter = {n for n in names.values() if "lora_" in n}
    assert learning == {"alignment": transceivers, "fine-tuning": transceivers | adapter}
    assert adapter


def test_stage_2_may_train_on_the_first_answer_token_alone(case_of: CaseOf) -> None:
    for answer_loss in ("first_token", "all_tokens"):
        case = case_of(fine_tuning={"answer_loss": answer_loss})
        losses = case.unsplit().losses(case.phases[-1])
        assert (losses["task"] == losses["first_token"]) == (answer_loss == "first_token")
        assert not losses["first_token"].requires_grad
        assert case.system.validation_loss in losses


@torch.no_grad()
def test_calibration_gives_every_receiver_the_embeddings_rms(case_of: CaseOf) -> None:
    case = case_of()
    unsplit = case.unsplit()
    receiver, phase = unsplit.receiver, case.phases[-1]
    assert isinstance(receiver, MlmsReceiver)
    received = {own.stream: handed_over(*unsplit.send(own)) for own in phase.inputs}
    receiver.calibrate(phase.name, received)
    for stream, own in received.items():
        valid = own.valid[:, :: receiver.foundation.token_width // 2]
        head = receiver.receivers[stream if stream in TOKENS else "text"]
        rms = head(own.symbols, own.noise_var)[valid].square().mean().sqrt()
        assert float(rms) == pytest.approx(receiver.foundation.embedding_rms, rel=1e-3)


def test_what_has_not_arrived_teaches_nothing(case_of: CaseOf) -> None:
    """Neither a caption without its sound, nor an answer without its question."""
    case = case_of()
    unsplit = case.unsplit()
    nobody = torch.zeros(len(ROWS), dtype=torch.bool)
    alignment, fine_tuning = case.phases
    received = {own.stream: handed_over(*unsplit.send(own)) for own in alignment.inputs}
    silent = {**received, "audio": replace(received["audio"], arrived=nobody)}
    losses = unsplit.receiver.losses(alignment.name, silent, {})
    assert set(alignment.losses) - set(losses) == {"contrastive_audio"}
    received = {own.stream: handed_over(*unsplit.send(own)) for own in fine_tuning.inputs}
    received["question"] = replace(received["question"], arrived=nobody)
    targets = {"train": case.batch("train")}
    assert unsplit.receiver.losses(fine_tuning.name, received, targets) == {}


def _without(received: Received, tokens: slice, width: int) -> Received:
    """A stream of which some tokens are lost: their symbols are no zeros, so as to be noticed."""
    erased = torch.zeros_like(received.valid)
    erased[:, tokens.start * width // 2 : tokens.stop * width // 2] = True
    noise = torch.full_like(received.symbols, 3.0)
    return replace(received, symbols=torch.where(erased, noise, received.symbols), erased=erased)


@torch.no_grad()
def test_lost_tokens_count_in_no_loss_and_no_calibration(case_of: CaseOf) -> None:
    case = case_of()
    unsplit, phase = case.unsplit(), case.phases[0]
    receiver, sent = unsplit.receiver, {own.stream: own for own in phase.inputs}
    assert isinstance(receiver, MlmsReceiver)
    width = receiver.foundation.token_width
    whole = {name: handed_over(*unsplit.send(own)) for name, own in sent.items()}
    shorter = {n: replace(own, valid=own.valid.clone()) for n, own in whole.items()}
    for own in shorter.values():
        own.valid[:, width // 2 : width] = False
    lost = {name: _without(own, slice(1, 2), width) for name, own in whole.items()}
    expected = receiver.losses(phase.name, shorter, {})
    found = receiver.losses(phase.name, lost, {})
    assert found.keys() == expected.keys() == set(phase.losses)
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name])
    receiver.calibrate(phase.name, lost)
    for stream in ("audio", "vision"):
        own = lost[stream]
        tokens = receiver.receivers[stream](own.symbols, own.noise_var)
        kept = tokens[own.delivered[:, :: width // 2]]
        rms = float(kept.square().mean().sqrt())
        assert rms == pytest.approx(receiver.foundation.embedding_rms, rel=1e-3)
    nothing = {name: replace(own, erased=own.valid) for name, own in whole.items()}
    receiver.calibrate(phase.name, nothing)
    assert all(p.isfinite().all() for p in receiver.parameters())
    losses = receiver.losses(phase.name, nothing, {})
    assert set(losses) == {"reconstruction_caption", "reconstruction_question"}
    assert not any(losses.values())


@torch.no_grad()
def test_the_prompt_is_vision_then_audio_then_the_question(case_of: CaseOf) -> None:
    """Eq. (12)."""
    unsplit = case_of().unsplit()
    receiver, served = unsplit.receiver, unsplit.served()
    assert isinstance(receiver, MlmsReceiver)
    prompt, valid = receiver._prompt(served)
    step = receiver.foundation.token_width // 2
    parts = []
    for stream, head in (("vision", "vision"), ("audio", "audio"), ("question", "text")):
        own = served[stream]
        tokens = receiver.receivers[head](own.symbols, own.noise_var)
        parts.append(tokens[0][own.delivered[0, ::step]])
    torch.testing.assert_close(prompt[0][valid[0]], torch.cat(parts))


def test_an_answer_does_not_depend_on_the_others_of_its_batch(
    case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = case_of().unsplit()
    unsplit.shake()
    texts = []
    for rows in ((0,), (0, 1)):
        monkeypatch.setattr("tokcom_core.testing.case.ROWS", rows)
        texts.append(unsplit.predict([True] * len(rows)).texts[0])
    assert texts[0] == texts[1]


def test_what_is_generated_has_one_limit_whatever_the_longest_true_answer(
    case_of: CaseOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsplit = case_of().unsplit()
    receiver = unsplit.receiver
    assert isinstance(receiver, MlmsReceiver)
    limits = []

    def generate(prompt: Tensor, valid: Tensor, max_new_tokens: int) -> Tensor:
        limits.append(max_new_tokens)
        return receiver.foundation.answer_ids(["yes"] * len(prompt))

    monkeypatch.setattr(receiver.foundation, "generate", generate)
    samples = unsplit.case.batch("test")
    everyone = torch.ones(len(ROWS), dtype=torch.bool)
    for answer in ("yes", "four four four"):
        columns = {**samples.columns, "answer": ("yes",) * (len(ROWS) - 1) + (answer,)}
        receiver.predict(unsplit.served(), type(samples)(columns), everyone)
    assert limits == [4, 4]


@pytest.mark.parametrize("selection", ["slide", "attention", "learned"])
def test_a_question_without_an_image_sends_its_words_alone(
    pictures: CaseOf, selection: str
) -> None:
    """And is answered; the other images of its batch are sent."""
    unsplit = pictures(Pictures(), selection=selection).unsplit()
    _, valid = unsplit.send(StreamInput("image", "train"))
    assert valid.any(1).tolist() == [True, True, True, False]
    assert len(unsplit.predict().texts) == len(ROWS)
    assert unsplit.losses(unsplit.case.phases[-1])["task"].isfinite()


def test_the_language_model_knows_the_tasks_media() -> None:
    """Of the pocket ones, unless the study names one."""
    for task, world in ((Avqa(), "pocket"), (Clevr(), "pocket-images")):
        assert Mlms().models.language_for(task.media) == world
        (texts,) = Mlms().features(task, "text", {})["text"]
        assert isinstance(texts, TextFeatures)
        assert (texts.checkpoint, texts.columns) == (world, task.texts)
    named = Mlms.model_validate({"models": {"language": "Qwen/Qwen2.5-0.5B"}})
    assert named.models.language_for(Clevr().media) == "Qwen/Qwen2.5-0.5B"


class Bare(Avqa):
    """A task without media, and one without captions."""

    name: str = "bare"  # type: ignore[assignment]
    kind: str

    @property
    def media(self) -> tuple[str, ...]:  # type: ignore[override]
        return () if self.kind == "media" else ("audio", "smell")

    @property
    def texts(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("question",)


def test_what_it_cannot_learn_is_refused() -> None:
    with pytest.raises(ValueError, match="encoders of vision, audio, image, of which task bare"):
        Mlms().check(Bare(kind="media"), {})
    with pytest.raises(ValueError, match=r"aligns on captions.*bare has none; take alignment: no"):
        Mlms().check(Bare(kind="texts"), {"audio": 4})
    unaligned = Mlms.model_validate({"alignment": {"losses": "none"}})
    unaligned.check(Bare(kind="texts"), {"audio": 4})
    assert unaligned.served(Bare(kind="texts")) == ("audio", "question")


class Humming(Task):
    """A task of one's own, whose defaults are those of the contract: nothing is captioned."""

    name: str = "humming"
    media: ClassVar[tuple[str, ...]] = ("audio",)

    def samples(self, root: Path, split: str) -> Samples:
        raise NotImplementedError

    def identity(self, root: Path) -> str:
        return self.name


class Wordless(Humming):
    texts: ClassVar[tuple[str, ...]] = ()


def test_a_task_that_nothing_is_captioned_of_is_learned_without_alignment() -> None:
    task, tokens = Humming(), {"audio": 4}
    with pytest.raises(ValueError, match=r"humming has none; take alignment: none"):
        Mlms().check(task, tokens)
    system = Mlms.model_validate({"alignment": {"losses": "none"}})
    system.check(task, tokens)
    (phase,) = system.phases(task)
    assert system.for_phase(phase.name).phases(task) == (phase,)
    assert [stream.name for stream in system.streams(task, tokens)] == ["audio", "question"]


def test_a_task_without_texts_is_refused() -> None:
    system = Mlms.model_validate({"alignment": {"losses": "none"}})
    assert [stream.name for stream in system.streams(Wordless(), {"audio": 4})] == ["audio"]
    with pytest.raises(ValueError, match="sends a question, but task humming has no texts"):
        system.check(Wordless(), {"audio": 4})


@pytest.mark.parametrize(
    ("config", "there"),
    [
        (Phi3Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2), "qkv_proj"),
        (GPT2Config(n_embd=16, n_layer=1, n_head=2), "c_attn"),
    ],
)
def test_an_adapter_goes_where_the_language_model_has_modules(
    tmp_path: Path, config: PreTrainedConfig, there: str
) -> None:
    """Refused when the study is planned, not by PEFT when the first network is built."""
    models = {"language": str(write_language(tmp_path, config))}
    with pytest.raises(ValueError, match=f"no q_proj, v_proj for the adapter; set .*{there}"):
        Mlms.model_validate({"models": models}).check(Avqa(), TOKENS)
    system = Mlms.model_validate({"models": models, "lora": {"modules": [there]}})
    system.check(Avqa(), TOKENS)
    receiver = system.receiver(Avqa(), seeded, TOKENS, "cpu", 4)
    adapted = {name for name, p in receiver.named_parameters() if "lora_" in name}
    assert adapted and all(f".{there}." in name for name in adapted)


def test_the_papers_adapter_leaves_the_names_of_artifacts_as_they_were() -> None:
    own = {"modules": ["q_proj", "v_proj"]}
    assert "lora" not in Mlms.model_validate({"lora": own}).model_dump(mode="json")
    assert "lora" in Mlms.model_validate({"lora": {"modules": ["q_proj"]}}).model_dump(mode="json")


def test_a_class_token_is_pooled_where_the_encoder_has_one() -> None:
    keys = {"models": {"slide": "all"}, "alignment": {"pooling": "cls"}}
    Mlms.model_validate(keys).check(Clevr(), {"image": 4})
    keys["models"]["image"] = {"name": "convnext"}  # type: ignore[index]
    with pytest.raises(ValueError, match=r"pooling.image 'cls' needs a class token.*'convnext'"):
        Mlms.model_validate(keys).check(Clevr(), {"image": 4})


def test_without_captions_there_is_nothing_to_align_on() -> None:
    """Instruction tasks without captions have conversations in their place."""
    task = Clevr()
    samples = {split: Samples(dict.fromkeys(COLUMNS, ("",))) for split in task.splits}
    with pytest.raises(ValueError, match="split 'pretraining' of task clevr has none; take align"):
        Mlms().check_data(task, Path(), samples, 4)
