"""An encoder of one's own: ``{name: custom, class: package.module:Class}``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tokcom_core.features import MediaFeatures, open_features
from tokcom_core.slide import slide
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa
from tokcom_core.testing import SystemCase

from .tiny_encoder import Loudness

HERE = "tests.tokcom_core.tiny_encoder"


def _system(**keys: Any) -> Mlms:
    audio = {"name": "custom", "class": f"{HERE}:Loudness", **keys}
    return Mlms.model_validate({"models": {"audio": audio}})


def test_its_tokens_are_stored_and_sent(minimusic: Path, tmp_path: Path) -> None:
    system, task = _system(bands=2), Avqa()
    assert system.max_tokens(task)["audio"] == 20
    with pytest.raises(ValueError, match=r"tokens\.audio 21 is beyond the encoder's 20 tokens"):
        system.check(task, {"audio": 21, "vision": 4})
    case = SystemCase.prepare(system, task, {"audio": 5, "vision": 4}, minimusic, tmp_path)
    samples = case.batch("test")
    file = task.media_file(minimusic, "test", "audio", samples.media_id[0])
    encoder = Loudness(bands=2).build()
    (whole,) = encoder.encode([encoder.read(file)])
    stored = open_features(case.features["audio"]["audio"]["test"])
    sent = stored.select(samples.media_id[:1], 5)
    torch.testing.assert_close(sent, whole[:, slide(20, 5)], rtol=2e-3, atol=2e-3)
    unsplit = case.unsplit()
    for phase in case.phases:
        assert set(unsplit.losses(phase)) == set(phase.losses)


def test_a_shape_that_is_not_the_encoders_is_refused(minimusic: Path, tmp_path: Path) -> None:
    system = _system(**{"class": f"{HERE}:Mistaken"})
    said = "makes 20 tokens of 3 features of a window, but its shape[(][)] says 20 of 4"
    with pytest.raises(ValueError, match=said):
        SystemCase.prepare(system, Avqa(), {"audio": 5, "vision": 4}, minimusic, tmp_path)


def test_its_keys_survive_json() -> None:
    system, task = _system(bands=2), Avqa()
    assert Mlms.model_validate_json(system.model_dump_json()) == system
    for device in ("audio", "vision"):
        entries = system.features(task, device, {"audio": 5, "vision": 4})[device]
        assert {getattr(entry, "dataset", None) for entry in entries} == {
            task.dataset(s) for s in task.splits
        }
        assert sorted(s for entry in entries for s in entry.splits) == sorted(task.splits)
        for entry in entries:
            assert isinstance(entry, MediaFeatures)
            again = MediaFeatures.model_validate_json(entry.model_dump_json())
            assert again == entry
            assert again.encoder.shape() == entry.encoder.shape()


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"class": f"{HERE}:Nobody"}, "should be a class that inherits EncoderConfig"),
        ({"class": f"{HERE}:NoEncoder"}, "should be a class that inherits EncoderConfig"),
        ({"class": "no.such.module:Encoder"}, "no module 'no.such.module'"),
        ({"class": "json.nothing:Encoder"}, "no module 'json.nothing'"),
        ({"class": HERE}, "should be package.module:Class"),
        ({"octaves": 3}, "octaves"),
    ],
)
def test_what_is_no_encoder_is_refused(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        _system(**keys)
