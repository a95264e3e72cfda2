"""Recorded traces: what is recorded is met again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from channel_models import Air, Link, Request, named_air
from channel_models.sources.recorded import RecordedSource
from channel_models.sources.recording import record, trace_of_generator
from channel_models.sources.trace import Trace, read_trace
from channel_models.testing import LINK, NormalisedAirContract

REQUEST = Request(50, 28, 1e3 / LINK.symbol_ms, 12, 4, "a")


def _trace(name: str = "tdl-a", **settings: object) -> Trace:
    source = named_air(name, **settings).source(LINK, "cpu")
    assert source is not None
    return record(source, REQUEST, ["a", "b"], carrier_hz=3.5e9)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many still realisations of a delay line."""
    source = named_air("tdl-a").source(LINK, "cpu")
    assert source is not None
    file = tmp_path_factory.mktemp("trace") / "tdl.parquet"
    record(source, replace(REQUEST, batch=20_000, steps=1), ["a"], 3.5e9).write(file)
    return file


class TestRecorded(NormalisedAirContract):
    @pytest.fixture(autouse=True)
    def _file(self, recorded: Path) -> None:
        self.file = recorded

    def build(self, snr_db: float) -> Air:
        return named_air("recorded", file=str(self.file)).build(LINK, snr_db)


def test_a_trace_survives_its_file(tmp_path: Path) -> None:
    trace = _trace(speed_mps=3.0)
    trace.write(tmp_path / "t.parquet")
    again = read_trace(tmp_path / "t.parquet")
    np.testing.assert_array_equal(again.gains, trace.gains)
    np.testing.assert_array_equal(again.delays_s, trace.delays_s)
    np.testing.assert_array_equal(again.places_m, trace.places_m)
    assert (again.senders, again.sampling_hz, again.physical) == (
        trace.senders,
        trace.sampling_hz,
        False,
    )
    assert [file.name for file in tmp_path.iterdir()] == ["t.parquet"]


def test_a_trace_without_path_loss_takes_no_link_budget(recorded: Path) -> None:
    budget = {"alpha": 0.5, "noise_figure_db": 20.0, "p0_dbm": -90.0}
    with pytest.raises(ValueError, match="takes no noise_figure_db, p0_dbm, alpha: its SNR is ask"):
        named_air("recorded", file=str(recorded), **budget).check(LINK)


def test_labels_of_traces_tell_settings_apart(recorded: Path) -> None:
    labels = [
        named_air("recorded", file=str(recorded), csi=csi).label for csi in ("perfect", "estimated")
    ]
    assert labels == ["recorded tdl", "recorded tdl csi=estimated"]


def test_a_sender_meets_its_own_realisations_in_time() -> None:
    trace = _trace(speed_mps=30.0)
    source = RecordedSource(trace, 1)
    channel = source.realise(replace(REQUEST, steps=14, sender="b"))
    own = torch.from_numpy(trace.gains[50:, :, :, :14])
    for gains in channel.gains:
        assert (own == gains).all((1, 2, 3)).any()
    again = source.realise(replace(REQUEST, steps=14, sender="b"))
    assert torch.equal(channel.gains, again.gains)


@pytest.mark.parametrize("steps", [1, 28])
def test_at_a_known_place_attempts_and_streams_have_phases_of_their_own(steps: int) -> None:
    """As in the radio cell that was recorded: the same paths, and other phases of each."""
    trace = replace(_trace(speed_mps=3.0), places_m=np.ones((100, 3), np.float32))
    trace = replace(trace, gains=trace.gains[..., :steps])
    source = RecordedSource(trace, 1)
    first, again, other = (
        source.realise(replace(REQUEST, steps=steps, place_seed=5, seed=seed, attempt=attempt))
        for seed, attempt in ((1, 0), (1, 0), (2, 1))
    )
    assert torch.equal(first.gains, again.gains)
    torch.testing.assert_close(other.gains.abs(), first.gains.abs())
    turned = (other.gains * first.gains.conj()).sgn()
    torch.testing.assert_close(turned, turned[..., :1].expand_as(turned))
    mean = turned[..., 0].mean()
    assert float(mean.abs()) < 5 / turned[..., 0].numel() ** 0.5


def test_a_generator_of_sionnas_kind_becomes_a_trace() -> None:
    def generator() -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(5):
            gains = torch.full((1, 2, 1, 1, 3, 1), i, dtype=torch.complex64)
            yield gains, 1e-6 * torch.rand(1, 1, 3)

    trace = trace_of_generator(generator(), 28e3, 3.5e9)
    assert trace.gains.shape == (5, 2, 3, 1)
    assert trace.gains[4, 1, 2, 0] == 4
    with pytest.raises(ValueError, match="no realisation"):
        trace_of_generator([], 28e3, 3.5e9)


def test_a_path_without_gain_may_have_any_delay() -> None:
    gains = np.ones((1, 1, 1, 1, 2, 1), complex)
    gains[..., 1, :] = 0
    trace = trace_of_generator([(gains, np.array([[[0.0, -1.0]]]))], 28e3, 3.5e9)
    assert not trace.delays_s.any()


_GAINS, _DELAYS_S = np.ones((1, 1, 1, 1, 3, 1), complex), np.array([[[0.0, 8e-8, 2e-7]]])


@pytest.mark.parametrize(
    ("gains", "delays_s", "complaint"),
    [
        (_GAINS[0], _DELAYS_S, r"has gains \[1, 1, 1, 3, 1\]; give \[1, antennas, 1, 1, paths"),
        (_GAINS.real, _DELAYS_S, "has gains of float64; give finite complex amplitudes"),
        (_GAINS * np.nan, _DELAYS_S, "has gains that are not finite"),
        (_GAINS[..., :2, :], _DELAYS_S, "has 2 paths, but 3 delays"),
        (
            _GAINS,
            1e9 * _DELAYS_S,
            "has delays from 0 to 200 s; give seconds, from 0 to below 0.001",
        ),
        (_GAINS, -_DELAYS_S, "has delays from -2e-07 to 0 s; give seconds"),
        (_GAINS, np.nan * _DELAYS_S, "has delays from nan to nan s; give seconds"),
        (
            _GAINS[..., :2, :],
            _DELAYS_S[..., :2],
            r"has \[1, 2, 1\] .*, the first \[1, 3, 1\]; .*pad",
        ),
    ],
)
def test_measurements_that_cannot_be_are_refused(
    gains: NDArray[np.complex128], delays_s: NDArray[np.float64], complaint: str
) -> None:
    """Delays in ns, say, would make a channel like any other."""
    items = [(_GAINS, _DELAYS_S), (gains, delays_s)]
    with pytest.raises(ValueError, match=f"^realisation 1 of the generator {complaint}"):
        trace_of_generator(items, 28e3, 3.5e9)


def test_paths_of_known_direction_shift_by_doppler() -> None:
    """A single path along x at v: phases turn by at most 2 pi v t / lambda, and amplitudes stay."""
    trace = Trace(
        np.ones((1, 1, 1, 1), np.complex64),
        np.zeros((1, 1), np.float32),
        ("",),
        0.0,
        3.5e9,
        False,
        np.zeros((1, 3), np.float32),
        np.asarray([[[1.0, 0.0, 0.0]]], np.float32),
    )
    channel = RecordedSource(trace, 1, speed_mps=30.0).realise(replace(REQUEST, batch=500))
    gains = channel.gains[:, 0, 0]
    torch.testing.assert_close(gains.abs(), torch.ones(500, 28))
    turn = torch.angle(gains[:, 1] * gains[:, 0].conj()).abs() / (2 * torch.pi)
    greatest = 30.0 * 3.5e9 / 299_792_458 / REQUEST.sampling_hz
    assert 0.98 * greatest < float(turn.max()) <= greatest * 1.001


def test_what_a_trace_cannot_give_is_refused(tmp_path: Path) -> None:
    trace = _trace(speed_mps=3.0)
    with pytest.raises(ValueError, match="recorded with 1 antennas"):
        RecordedSource(trace, 4)
    with pytest.raises(ValueError, match="record longer"):
        RecordedSource(trace, 1).realise(replace(REQUEST, steps=40))
    with pytest.raises(ValueError, match="sampled at"):
        RecordedSource(trace, 1).realise(replace(REQUEST, sampling_hz=1.0))
    with pytest.raises(ValueError, match="no trace"):
        read_trace(tmp_path / "absent.parquet")
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1")
    with pytest.raises(ValueError, match="is not a trace"):
        read_trace(damaged)
    with pytest.raises(ValueError, match="no trace"):
        named_air("recorded", file=str(tmp_path / "absent.parquet"))
    trace.write(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match="has changed"):
        named_air("recorded", file=str(tmp_path / "t.parquet"), sha256="0" * 64)
    with pytest.raises(ValueError, match="antennas"):
        named_air("recorded", file=str(tmp_path / "t.parquet")).build(Link(antennas=2), 3.0)
