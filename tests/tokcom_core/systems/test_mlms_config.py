"""Keys of paper 1's system: what follows from the task, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from transformers import GPT2Config, Phi3Config, PreTrainedConfig

from tokcom_core.datasets.samples import Samples
from tokcom_core.features import TextFeatures
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.instructions import COLUMNS
from tokcom_core.testing.case import seeded

from ..pictures import write_language
from .conftest import MLMS_TOKENS


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
        Mlms.model_validate({"models": models}).check(Avqa(), MLMS_TOKENS)
    system = Mlms.model_validate({"models": models, "lora": {"modules": [there]}})
    system.check(Avqa(), MLMS_TOKENS)
    receiver = system.receiver(Avqa(), seeded, MLMS_TOKENS, "cpu", 4)
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
