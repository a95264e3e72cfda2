"""Airs on the resource grid: contract, parity with Sionna, estimation, several users."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.mimo import lmmse_equalizer

from channel_models import Air, Link, Realisation, Request, Source, named_air
from channel_models.numerology import Allocation
from channel_models.reception.csi import CsiSettings, Interpolation
from channel_models.reception.detection import detect_users, lmmse_combine
from channel_models.reception.estimation import PilotEstimator
from channel_models.reception.linear import LinearAir
from channel_models.reception.response import frequency_response, subcarrier_hz
from channel_models.reception.signal import FadingChannel
from channel_models.seeding import sionna_seeded
from channel_models.sources.recorded import RecordedSource
from channel_models.sources.trace import Trace
from channel_models.testing import LINK, NormalisedAirContract, frame, squared_errors


class TestMovingTdl(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("tdl-c", speed_mps=30.0, delay_spread_ns=300.0).build(LINK, snr_db)


class TestFixedTdl(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("tdl-b100").build(LINK, snr_db)


class TestCdlWithAnArray(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("cdl-c", speed_mps=3.0).build(Link(antennas=4), snr_db)


class TestEstimated(NormalisedAirContract):
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return named_air("tdl-a", csi="estimated").build(LINK, snr_db)

    def test_error_has_the_variance_that_is_announced(self) -> None:
        """To a tenth: it is that of a Gaussian channel, and five taps are not quite one."""
        sent = frame("a", batch=200, symbols=12 * LINK.subcarriers)
        (got,) = self.build(6.0).transmit([sent], seed=6)
        error = (got.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
        assert float(error) == pytest.approx(float(got.noise_var[sent.valid].mean()), rel=0.1)


class TestSeveralUsersAtOnce(NormalisedAirContract):
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return named_air("tdl-a", speed_mps=3.0).build(Link(access="sdma", antennas=4), snr_db)

    def test_nobodys_channel_depends_on_what_the_others_send(self) -> None:
        """Interference remains after detection, but everyone's fading stays as it is."""
        air = self.build(5.0)
        snrs_db = [
            air.transmit([frame("b", symbols=64, gain=gain), frame("a")], seed=3)[1].realised_snr_db
            for gain in (1.0, 100.0)
        ]
        assert torch.equal(*snrs_db)

    def test_error_has_the_variance_that_is_announced(self) -> None:
        frames = [frame(name, batch=600, symbols=12, seed=i) for i, name in enumerate("abc")]
        for sent, got in zip(frames, self.build(6.0).transmit(frames, seed=6), strict=True):
            error = (got.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square()
            announced = float(got.noise_var[sent.valid].mean())
            assert float(error.mean()) == pytest.approx(announced, rel=0.1)


def test_response_is_sionnas_to_single_precision() -> None:
    link = Link(bandwidth_hz=20e6)
    model = TDL("A", 100e-9, 3.5e9, min_speed=30.0, precision="single", device="cpu")
    with sionna_seeded(1):
        gains, delays = model(8, 14, 28e3)
    theirs = cir_to_ofdm_channel(
        subcarrier_frequencies(link.subcarriers, 30e3, precision="double"),
        gains.to(torch.complex128),
        delays.double(),
    )[:, 0, :, 0, 0]
    channel = Realisation(gains[:, 0, :, 0, 0], delays[:1, 0, 0])
    frequencies = subcarrier_hz(link, Allocation(0, link.subcarriers), torch.device("cpu"))
    ours = frequency_response(channel, frequencies)
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < 5e-6
    own_delays = Realisation(channel.gains, channel.delays_s.expand(8, -1).contiguous())
    torch.testing.assert_close(frequency_response(own_delays, frequencies), ours)


def test_a_devices_share_of_the_band_has_the_bands_response() -> None:
    link = Link()
    channel = Realisation(torch.randn(2, 1, 3, 1, dtype=torch.complex64), torch.rand(2, 3) * 1e-6)
    cpu = torch.device("cpu")
    whole = frequency_response(channel, subcarrier_hz(link, Allocation(0, link.subcarriers), cpu))
    part = frequency_response(channel, subcarrier_hz(link, Allocation(48, 48), cpu))
    torch.testing.assert_close(part, whole[..., 48:96])


def test_detection_is_sionnas_after_its_bias() -> None:
    """Sionna scales the LMMSE estimate to be unbiased; undone by 1 / (1 + its noise variance)."""
    torch.manual_seed(0)
    response = [torch.randn(5, 4, 1, 6, dtype=torch.complex64) for _ in range(3)]
    received = torch.randn(5, 4, 2, 6, dtype=torch.complex64)
    active = torch.ones(5, 2, 6, 3, dtype=torch.bool)
    ours, errors = detect_users(received, response, active, torch.tensor(0.1))
    h = torch.stack([r.expand(-1, -1, 2, -1) for r in response], -1).permute(0, 2, 3, 1, 4)
    unbiased, noise = lmmse_equalizer(
        received.permute(0, 2, 3, 1), h, 0.1 * torch.eye(4, dtype=torch.complex64)
    )
    torch.testing.assert_close(ours, unbiased / (1 + noise), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(errors, noise / (1 + noise), rtol=1e-3, atol=1e-4)
    alone, error = lmmse_combine(received, response[0], torch.tensor(0.1))
    first, first_error = detect_users(received, response[:1], active[..., :1], torch.tensor(0.1))
    torch.testing.assert_close(alone, first[..., 0], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(error.expand(5, 2, 6), first_error[..., 0], rtol=1e-3, atol=1e-4)


def _error(air: Air, batch: int = 40) -> float:
    sent = frame("a", batch=batch, symbols=300)
    (got,) = air.transmit([sent], seed=3)
    return float(
        (got.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
    )


@pytest.mark.parametrize("users", [1, 4])
@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 12.0])
def test_an_estimate_errs_as_much_as_it_says(
    users: int, interpolation: Interpolation, snr_db: float
) -> None:
    """Noise of two pilots is averaged; Sionna states the variance of one. At low SNRs that would
    exceed the power of many an estimate, which would be taken for noise alone."""
    cpu = torch.device("cpu")
    source = named_air("tdl-a", delay_spread_ns=30.0).source(LINK, "cpu")
    assert source is not None
    channel = FadingChannel(LINK, source, True, cpu)
    allocation, rows = Allocation(0, LINK.subcarriers), 12
    names = [str(number) for number in range(users)]
    sent = [frame(name, batch=300, symbols=rows * LINK.subcarriers) for name in names]
    signals = [channel.signal(one, allocation, 7) for one in sent]
    estimator = PilotEstimator(LINK, interpolation, source, "cpu")
    pilots = [signal.pilots for signal in signals if signal.pilots is not None]
    n0, generator = 10 ** (-snr_db / 10), torch.Generator().manual_seed(1)
    found = estimator.estimate(pilots, range(rows), n0, generator)
    true = [
        (h - s.response).abs().square().mean() for (h, _), s in zip(found, signals, strict=True)
    ]
    stated = [error.mean() for _, error in found]
    assert float(sum(stated)) == pytest.approx(float(sum(true)), rel=0.05)
    muted = torch.cat([h.abs().sum((1, 2, 3)) == 0 for h, _ in found])
    assert float(muted.float().mean()) < (0.15 if snr_db < 0 else 0.03)


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize(
    ("name", "settings", "users"),
    [
        ("tdl-a", {"delay_spread_ns": 300.0}, 1),
        ("tdl-a", {"speed_mps": 30.0}, 1),
        ("tdl-a", {"delay_spread_ns": 300.0, "speed_mps": 83.0}, 1),
        ("tdl-c", {"delay_spread_ns": 1000.0}, 4),
        ("umi", {"speed_mps": 30.0}, 1),
    ],
)
def test_what_interpolation_misses_is_announced(
    name: str, settings: dict[str, float], users: int, interpolation: Interpolation
) -> None:
    """At 30 dB that is most of the error where users move, or share the pilots as combs."""
    link = Link(access="sdma", antennas=8, bandwidth_hz=2.88e6) if users > 1 else LINK
    air = named_air(name, csi="estimated", interpolation=interpolation, **settings)
    names = [str(number) for number in range(users)]
    sent = [frame(one, batch=400 // users, symbols=1000, seed=int(one)) for one in names]
    got = air.build(link, 30.0).transmit(sent, seed=3)
    valid = sent[0].valid
    true = torch.stack([squared_errors(*pair)[valid] for pair in zip(sent, got, strict=True)])
    announced = torch.stack([one.noise_var[valid] for one in got])
    assert 0.85 < float(true.mean() / announced.mean()) < 1.15


def test_a_still_user_alone_is_interpolated_without_loss() -> None:
    """Its pilots are on every subcarrier: all that is announced is the noise's part."""
    source = named_air("tdl-c", delay_spread_ns=1000.0).source(LINK, "cpu")
    estimator = PilotEstimator(LINK, "linear", source, "cpu")
    interpolated = estimator._pilots(1, 24).interpolated
    assert interpolated is not None
    assert float(interpolated.missed.max()) < 1e-10
    torch.testing.assert_close(interpolated.kept, torch.ones_like(interpolated.kept))


def test_more_users_than_antennas_are_told_apart_as_far_as_may_be() -> None:
    """Three on one antenna: two thirds of each one's power is the others', at any SNR."""
    for snr_db in (60.0, 80.0, math.inf):
        air = named_air("rayleigh").build(Link(access="sdma", antennas=1), snr_db)
        sent = [frame(name, batch=400, symbols=64, seed=i) for i, name in enumerate("abc")]
        for one, got in zip(sent, air.transmit(sent, seed=3), strict=True):
            announced = float(got.noise_var[one.valid].mean())
            assert 0.6 < announced < 0.72
            true = float(squared_errors(one, got)[one.valid].mean())
            assert true == pytest.approx(announced, rel=0.05)
            assert got.noise_var.min() >= 0 and got.noise_var.max() <= 1 + 1e-5


def test_who_is_silent_disturbs_nobody() -> None:
    """What is not known of a channel is noise only where its user sends."""
    link = Link(access="sdma", antennas=4)
    air = named_air("tdl-a", csi="estimated").build(link, 10.0)
    longest = 12 * link.subcarriers
    sent = [frame("a", 100, longest), *(frame(name, 100, 8) for name in "bcd")]
    got = air.transmit(sent, seed=3)[0]
    alone = sent[0].valid.clone()
    alone[:, : link.subcarriers] = False
    true = squared_errors(sent[0], got)[alone].mean()
    assert float(got.noise_var[alone].mean()) == pytest.approx(float(true), rel=0.05)


class _Moving(Source):
    """One path whose gain turns half around in ten OFDM symbols."""

    flat, static = True, False

    def realise(self, request: Request) -> Realisation:
        steps = torch.arange(request.steps).reshape(1, 1, 1, -1)
        gains = torch.exp(1j * torch.pi / 10 * steps).expand(request.batch, 1, 1, -1)
        return Realisation(gains.to(torch.complex64), torch.zeros(request.batch, 1))


def test_a_flat_channel_moves_during_a_frame() -> None:
    allocation = Allocation(0, LINK.subcarriers)
    sent = frame("a", symbols=12 * LINK.subcarriers)
    channel = FadingChannel(LINK, _Moving(), False, torch.device("cpu"))
    response = channel.signal(sent, allocation, 1).response
    assert response.shape[2] == 12
    steps = torch.tensor(LINK.grid(sent.symbols.shape[1], LINK.subcarriers).data_steps)
    expected = torch.exp(1j * torch.pi / 10 * steps).to(torch.complex64)
    torch.testing.assert_close(response[0, 0, :, 0], expected)


def test_knowing_more_of_the_channel_helps() -> None:
    def build(**settings: str) -> Air:
        return named_air("tdl-a", speed_mps=10.0, **settings).build(Link(bandwidth_hz=1e6), 10.0)

    perfect = _error(build())
    lmmse, linear, nearest = (
        _error(build(csi="estimated", interpolation=how)) for how in ("lmmse", "linear", "nearest")
    )
    assert perfect < lmmse < linear < nearest < _error(build(csi="none"))


@pytest.mark.parametrize("snr_db", [-10.0, 6.0])
def test_estimates_by_statistics_announce_their_error_below_the_noise_too(snr_db: float) -> None:
    """The noise on the pilots is no power of the channel: with it, estimates seem better."""
    keys = {"speed_mps": 3.0, "csi": "estimated", "interpolation": "lmmse"}
    air = named_air("tdl-a", **keys).build(Link(bandwidth_hz=1e6), snr_db)
    sent = frame("a", batch=400, symbols=600)
    (got,) = air.transmit([sent], seed=3)
    announced = got.noise_var.expand(sent.symbols.shape)[sent.valid].mean()
    true = squared_errors(sent, got)[sent.valid].mean()
    assert float(announced) == pytest.approx(float(true), rel=0.015)


def test_statistics_of_pilots_are_those_of_the_cell_not_of_one_place() -> None:
    """A device that keeps its place is estimated as well as one of many; the error is announced."""
    found = {}
    for drop_seed in (None, 1, 2):
        keys = {"csi": "estimated", "interpolation": "lmmse", "p0_dbm": -85.0}
        air = named_air("umi", drop_seed=drop_seed, **keys).build(Link(bandwidth_hz=2e6), math.nan)
        assert isinstance(air, LinearAir)
        assert air._estimator is not None
        found[drop_seed] = air._estimator._statistics[1]
    for own in (found[1], found[2]):
        torch.testing.assert_close(own, found[None])


@pytest.mark.parametrize("interpolation", ["linear", "lmmse"])
def test_the_pilots_of_a_still_user_are_interpolated(interpolation: Interpolation) -> None:
    """Recorded paths of known directions that turn in no time."""
    rng = np.random.default_rng(1)
    trace = Trace(
        gains=(rng.normal(size=(20, 1, 3, 1, 2)) @ [1, 1j]).astype(np.complex64),
        delays_s=rng.uniform(0, 2e-7, (20, 3)).astype(np.float32),
        sampling_hz=1.0,
        senders=("a",) * 20,
        places_m=np.zeros((20, 3), np.float32),
        carrier_hz=3.5e9,
        physical=False,
        directions=np.tile(np.float32([1, 0, 0]), (20, 3, 1)),
    )
    source = RecordedSource(trace, 1, speed_mps=0.0)
    air = LinearAir(LINK, 0.01, source, CsiSettings("estimated", interpolation))
    (got,) = air.transmit([frame("a", batch=50, symbols=60)], seed=1)
    assert got.symbols.isfinite().all()
    assert float(got.noise_var.mean()) < 0.2


def test_equalising_by_noise_projection_is_equalising() -> None:
    """With perfect CSI one noise draw stands for the antennas' own: the same error statistics."""
    link = Link(antennas=3)
    air = named_air("tdl-a").build(link, 3.0)
    sent = frame("a", batch=2000, symbols=12)
    (got,) = air.transmit([sent], seed=4)
    error = (got.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
    source = named_air("tdl-a").source(link, "cpu")
    assert source is not None
    channel = source.realise(Request(2000, 1, 28e3, 12, 1, "a"))
    response = frequency_response(
        channel, subcarrier_hz(link, Allocation(0, 12), torch.device("cpu"))
    )
    symbols = frame("a", batch=2000, symbols=12).symbols.reshape(2000, 1, 1, 12)
    n0 = 10**-0.3
    noise = n0**0.5 * torch.randn(2000, 3, 1, 12, dtype=torch.complex64)
    estimate, _ = lmmse_combine(response * symbols + noise, response, torch.tensor(n0))
    explicit = (estimate - symbols[:, 0])[symbols[:, 0] != 0].abs().square().mean()
    assert float(error) == pytest.approx(float(explicit), rel=0.05)


def test_what_cannot_be_received_is_refused() -> None:
    with pytest.raises(ValueError, match="tells users apart by their fading"):
        named_air("awgn").build(Link(access="sdma", antennas=4), 5.0)
    with pytest.raises(ValueError, match="one antenna"):
        named_air("tdl-a", csi="none").build(Link(antennas=2), 5.0)
    with pytest.raises(ValueError, match="budget of air umi sets their power; take csi perfect"):
        named_air("umi", csi="none").check(Link())
    with pytest.raises(ValueError, match="needs pilots"):
        named_air("tdl-a", csi="estimated").build(Link(dmrs_symbols=0), 5.0)
    with pytest.raises(ValueError, match="tdl-a takes no interpolation: csi perfect estimates"):
        named_air("tdl-a", interpolation="lmmse").check(Link())
    named_air("tdl-a", interpolation="linear").check(Link())
    with pytest.raises(ValueError, match=r"tensorflow takes no fidelity, interpolation: its"):
        function = {"function": "a:b", "fidelity": "abstract", "interpolation": "lmmse"}
        named_air("tensorflow", **function).check(Link())
    with pytest.raises(ValueError, match="no air 'tdl-z'"):
        named_air("tdl-z")
    with pytest.raises(ValueError, match="sped_mps"):
        named_air("tdl-a", sped_mps=3.0)
    air = named_air("rayleigh").build(Link(access="sdma", antennas=2), 5.0)
    with pytest.raises(ValueError, match="batches of one size"):
        air.transmit([frame("a", batch=4), frame("b", batch=3)], seed=0)


@pytest.mark.slow
def test_memory_is_flat_over_ten_thousand_transmissions() -> None:
    import resource

    air = named_air("tdl-a", speed_mps=3.0).build(LINK, 5.0)
    frames = [frame("a")]
    for seed in range(500):
        air.transmit(frames, seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(500, 10_000):
        air.transmit(frames, seed)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
