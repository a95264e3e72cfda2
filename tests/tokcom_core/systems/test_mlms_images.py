"""Paper 1's system on tasks about images."""

from __future__ import annotations

from typing import Any

import pytest

from tokcom_core.systems import StreamInput
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Task
from tokcom_core.testing import ROWS, SystemCase, SystemContract

from ..pictures import Pictures, write_models, write_pictures
from .conftest import CaseOf


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
        tokens = dict.fromkeys(system.swept_devices(task), 4)
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
