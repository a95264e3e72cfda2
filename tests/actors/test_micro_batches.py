"""Steps that are sent and learnt from in parts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors import Device, InlineEngine
from actors.messages import StepPart, StepReport, StreamRequest
from actors.step_reports import merge_reports
from actors.training.optimiser import Optimiser
from channel_models import Frame, named_air
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.systems import Phase
from tokcom_core.systems.mlms import Mlms

from .conftest import NetworkParts, PartsOf

ALL_TOKENS, FIRST_TOKEN = (
    Mlms.model_validate({"caption_tokens": 64, "fine_tuning": {"answer_loss": loss}})
    for loss in ("all_tokens", "first_token")
)
"""Losses that are means over the answers' tokens, of which parts have different numbers, and over
the samples."""

Trained = tuple[list[dict[str, float]], Mapping[str, torch.Tensor]]


def _train(parts: NetworkParts, phase: Phase, snr_db: float) -> Trained:
    with parts.network(InlineEngine()) as network:
        network.set_channel(named_air("awgn"), snr_db)
        return network.train(phase), network.state()


def _with_long_answers(parts: NetworkParts, folder: Path) -> NetworkParts:
    """Every seventh answer of many tokens, so that parts of a batch have unlike numbers of them."""
    samples = {split: read_samples(file) for split, file in parts.station.samples.items()}
    files = {split: folder / f"{split}.parquet" for split in samples}
    for split, own in samples.items():
        answers = (f"{a} " * (9 if i % 7 == 0 else 1) for i, a in enumerate(own.answer))
        Samples({**own.columns, "answer": tuple(answers)}).write(files[split])
    return replace(parts, station=replace(parts.station, samples=files))


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of samples of each of a stream's frames in training."""
    found: list[int] = []
    transmit = Device.transmit

    def recorded(device: Device, request: StreamRequest) -> Frame:
        if request.training and request.stream == "question":
            found.append(len(request.rows))
        return transmit(device, request)

    monkeypatch.setattr(Device, "transmit", recorded)
    return found


@pytest.fixture
def gradients(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Gradients that optimisers step by, without stepping."""
    found: list[torch.Tensor] = []

    def step(own: Optimiser) -> None:
        found.extend(p.grad for p in own._parameters if p.grad is not None)

    monkeypatch.setattr(Optimiser, "step", step)
    return found


@pytest.mark.parametrize("system", [ALL_TOKENS, FIRST_TOKEN])
def test_a_step_in_parts_is_the_step_on_the_whole_batch(
    system: Mlms,
    parts_of: PartsOf,
    sent: list[int],
    gradients: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)
    parts = _with_long_answers(parts_of(system=system), tmp_path)
    phase = parts.phases(steps=1)[-1]
    (expected,), _ = _train(parts, phase, math.inf)
    whole = gradients.copy()
    sent.clear()
    gradients.clear()
    (found,), _ = _train(parts, replace(phase, micro_batch_size=3), math.inf)
    assert sent == [3, 3, 2]
    assert found == pytest.approx(expected)
    assert len(gradients) == len(whole) > 0
    for own, other in zip(gradients, whole, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-6)


def test_parts_meet_different_noise(parts_of: PartsOf) -> None:
    """A step of two parts over the air is not the same part twice."""
    parts = parts_of(system=FIRST_TOKEN)
    phase = parts.phases(steps=1)[-1]
    whole, _ = _train(parts, phase, 0.0)
    split, _ = _train(parts, replace(phase, micro_batch_size=4), 0.0)
    assert whole[0]["samples"] == split[0]["samples"] == 8
    assert whole[0]["task"] != split[0]["task"]


def test_a_batch_that_fits_is_not_split(parts_of: PartsOf) -> None:
    parts = parts_of(system=FIRST_TOKEN)
    phase = parts.phases(steps=2)[-1]
    whole, _ = _train(parts, phase, 6.0)
    fits, _ = _train(parts, replace(phase, micro_batch_size=8), 6.0)
    assert fits == whole


def test_reports_are_merged_by_what_they_are_means_of() -> None:
    first = StepReport(
        {"task": 1.0, "long": 1.0}, {"samples": 6.0, "uplink_bits": 10.0, "tx_power_dbm": 10.0}
    )
    other = StepReport({"long": 2.0}, {"samples": 2.0, "uplink_bits": 30.0, "tx_power_dbm": 20.0})
    parts = [StepPart(0.75, fractions={"long": 0.2}), StepPart(0.25, fractions={"long": 0.8})]
    merged = merge_reports([first, other], parts)
    assert merged.losses == pytest.approx(
        {"task": 1.0, "long": 1.8}
    )  # nothing of the other part has arrived
    assert merged.costs == pytest.approx(
        {
            "samples": 8.0,
            "uplink_bits": 15.0,
            "tx_power_dbm": 10 * math.log10((6 * 10 + 2 * 100) / 8),
        }
    )


def test_a_mean_of_nothing_counts_for_nothing() -> None:
    """Its value, NaN, is in neither the gradient nor the report, where others have the loss."""
    nothing, all_of_it = (StepPart(0.5, fractions={"task": own}) for own in (0.0, 1.0))
    losses = {"task": torch.tensor(math.nan, requires_grad=True)}
    assert nothing.weighed(losses) is None
    reports = [StepReport({"task": math.nan}, {}), StepReport({"task": 2.0}, {})]
    assert merge_reports(reports, [nothing, all_of_it]).losses == {"task": 2.0}
    alone = merge_reports([reports[0], StepReport({}, {})], [nothing, all_of_it])
    assert math.isnan(alone.losses["task"])
