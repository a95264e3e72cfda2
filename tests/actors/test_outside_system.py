"""The contracts of systems, inherited by one from outside: the example of docs/extending.md."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.messages import FrameBatch, LossRules, TransmitRequest
from actors.testing import SplitContract, SplitSystem
from channel_models import Members
from tokcom_core.systems import StreamInput, Transmitter
from tokcom_core.testing import ROWS, SystemCase, SystemContract

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


@pytest.fixture(scope="module")
def beacons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with ``beacons.py``, the code of the page."""
    folder = tmp_path_factory.mktemp("beacons")
    blocks = re.findall(r"^```python\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    (folder / "beacons.py").write_text("\n".join(blocks))
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
    sys.modules.pop("beacons", None)


class TestRadars(SystemContract, SplitContract):
    """Three phases, one of which does not cross the air, and another that trains no device."""

    @pytest.fixture(scope="class")
    def case(self, beacons: Path) -> SystemCase:
        own = import_module("beacons")
        own.write_beacons(beacons / "data", scenes=8)
        return SystemCase.prepare(
            own.Radars(), own.Beacons(), {"left": 4, "right": 4}, beacons / "data", beacons
        )

    @pytest.mark.parametrize(
        ("slip", "complaint"),
        [
            (lambda s, v: (s.real, v), "should give complex64 [4, 8], gave float32 [4, 8]"),
            (lambda s, v: (s[:-1], v[:-1]), "should give complex64 [4, 8], gave complex64 [3, 8]"),
            (lambda s, v: (s, v.float()), "should give bool [4, 8], gave float32 [4, 8]"),
            (lambda s, v: (s, v[:, ::2]), "should give bool [4, 8], gave bool [4, 4]"),
            (lambda s, v: (s[:, :-1], v[:, :-1]), "should give 2 symbols of each token, gave 7"),
            (lambda s, v: (s.detach().numpy(), v), "complex64 [4, 8], gave ndarray"),
            (lambda s, v: s, "symbols and which are valid, gave complex64 [4, 8]"),
        ],
    )
    def test_what_a_transmitter_sends_is_checked(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch, slip: Slip, complaint: str
    ) -> None:
        split = SplitSystem(case, "awgn", 10.0)
        _after(
            monkeypatch, split.devices["left"].transmitter, "forward", lambda given: slip(*given)
        )
        said = f"RadarTransmitter.forward of stream 'left' .*{re.escape(complaint)}"
        with pytest.raises(ValueError, match=said):
            split.transmit(case.phases[-1].inputs, training=True)

    @pytest.mark.parametrize(
        ("slip", "complaint"),
        [
            (lambda loss: {"lss": loss}, "gives 'lss', but Phase.losses has task; add it there"),
            (lambda loss: {"task": loss[None]}, "'task' as a scalar tensor, gave float32 [1]"),
            (lambda loss: {"task": loss.item()}, "'task' as a scalar tensor, gave float"),
            (lambda loss: {"task": loss.detach()}, "nothing to train: every loss is detached"),
            (lambda loss: loss, "should give tensors by name, gave float32 []"),
        ],
    )
    def test_the_losses_of_a_step_are_checked(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch, slip: Slip, complaint: str
    ) -> None:
        split, phase = SplitSystem(case, "awgn", 10.0), case.phases[-1]
        _after(monkeypatch, split.station.receiver, "losses", lambda given: slip(given["task"]))
        split.begin(phase)
        said = f"RadarReceiver.losses in phase 'task' .*{re.escape(complaint)}"
        with pytest.raises(ValueError, match=said):
            split.step(phase)

    @pytest.mark.parametrize(
        ("slip", "complaint"),
        [
            (lambda p: replace(p, texts=p.texts[:-1]), "4 texts, one of each sample, not 3"),
            (lambda p: replace(p, first_token=()), "4 first_token, one of each sample, not 0"),
            (lambda p: replace(p, texts=(1, 2, 3, 4)), "should be texts, not int"),
            (lambda p: None, "should be Predictions or Feedback, not None"),
        ],
    )
    def test_answers_are_checked(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch, slip: Slip, complaint: str
    ) -> None:
        split = SplitSystem(case, "awgn", 10.0)
        _after(monkeypatch, split.station.receiver, "predict", slip)
        with pytest.raises(ValueError, match=f"RadarReceiver's answers .*{re.escape(complaint)}"):
            split.answer("test", split.transmit(_served(case), training=False))

    def test_a_score_is_given_for_each_answer(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        split = SplitSystem(case, "awgn", 10.0)
        monkeypatch.setattr(type(case.task), "scores", lambda *given: [1.0])
        with pytest.raises(ValueError, match=r"Beacons\.scores should give 4 scores, .* gave 1"):
            split.answer("test", split.transmit(_served(case), training=False))
        monkeypatch.setattr(type(case.task), "scores", lambda *given: [1.0, 0.0, "no", 1.0])
        with pytest.raises(ValueError, match=r"Beacons\.scores should give numbers, gave str"):
            split.answer("test", split.transmit(_served(case), training=False))

    @pytest.mark.parametrize("side", ["transmitter", "receiver"])
    def test_both_sides_are_built(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch, side: str
    ) -> None:
        monkeypatch.setattr(type(case.system), side, lambda *given: None)
        said = rf"Radars\.{side} should give a {side.capitalize()}, gave None"
        with pytest.raises(ValueError, match=said):
            SplitSystem(case, "awgn", 10.0)

    def test_running_statistics_are_refused_where_they_are_trained(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They would be lost between a training and its test; those of a frozen encoder stay."""

        def slip(given: Transmitter) -> Transmitter:
            given.norm = torch.nn.BatchNorm1d(4).requires_grad_(trained)
            return given

        _after(monkeypatch, type(case.system), "transmitter", slip)
        trained = False
        SplitSystem(case, "awgn", 10.0)
        trained = True
        said = r"Radars\.transmitter: norm is a BatchNorm1d, .* take a LayerNorm"
        with pytest.raises(ValueError, match=said):
            SplitSystem(case, "awgn", 10.0)

    def test_dropout_at_a_device_depends_on_the_batch_and_is_off_in_tests(
        self, case: SystemCase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        split, inputs = SplitSystem(case, "awgn", 10.0), case.phases[-1].inputs
        transmitter = split.devices["left"].transmitter
        transmitter.dropout = torch.nn.Dropout(0.5)

        def drop(given: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
            keep = transmitter.dropout(torch.ones(given[0].shape))
            return given[0] * keep, given[1]

        plain = split.transmit(inputs, training=True)[0].symbols
        _after(monkeypatch, transmitter, "forward", drop)
        found = []
        for training in (True, True, False):
            split.begin(case.phases[-1])
            torch.rand(len(found))  # another use of the process's generator
            found.append(split.transmit(inputs, training)[0].symbols)
        assert torch.equal(found[0], found[1])
        assert not torch.equal(found[0], plain)
        assert torch.equal(found[2], plain)

    def test_the_name_of_an_air_is_none(self, case: SystemCase) -> None:
        with pytest.raises(ValueError, match=r"'rayleigh' is no air; take named_air\('rayleigh'\)"):
            SplitSystem(case, "awgn", 10.0).station.set_channel("rayleigh", 10.0)  # type: ignore[arg-type]

    def test_without_required_streams_everyone_is_answered(self, case: SystemCase) -> None:
        """Even those of whom nothing has arrived."""
        split, count = SplitSystem(case, "awgn", 10.0), len(ROWS)
        members = Members(torch.arange(count), torch.zeros(count).long(), torch.zeros(count))
        frames = [
            replace(frame, members=members)
            for frame in split.transmit(_served(case), training=False)
        ]
        late_ms = {frame.stream: torch.tensor([9.0, 9.0, 0.0, 0.0]) for frame in frames}
        rules = LossRules(-math.inf, 5.0, dict.fromkeys(late_ms, 0.0), late_ms)
        request = TransmitRequest("test", torch.tensor(ROWS), members, {})
        found = split.station.serve(1, request, rules, FrameBatch(torch.arange(count), (*frames,)))
        assert found.streams["left"].received.tolist() == [False, False, True, True]
        assert all(found.predicted)


Slip = Callable[..., Any]


def _after(monkeypatch: pytest.MonkeyPatch, side: Any, method: str, change: Slip) -> None:
    """Lets a method give something else than it does."""
    original = getattr(side, method)
    monkeypatch.setattr(side, method, lambda *given: change(original(*given)))


def _served(case: SystemCase) -> list[StreamInput]:
    test = case.task.test_split
    return [StreamInput(name, test) for name in case.system.served(case.task)]
