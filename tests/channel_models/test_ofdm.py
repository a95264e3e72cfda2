"""Airs on the resource grid: contract, parity with Sionna, estimation, several users."""

from __future__ import annotations

import pytest
import torch
from sionna.phy.channel import cir_to_ofdm_channel, subcarrier_frequencies
from sionna.phy.channel.tr38901 import TDL
from sionna.phy.mimo import lmmse_equalizer

from channel_models import Air, Link, Realisation, Request, named_air
from channel_models.numerology import Allocation
from channel_models.reception.detection import detect_users, lmmse_combine
from channel_models.reception.response import frequency_response, subcarrier_hz
from channel_models.seeding import sionna_seeded
from channel_models.testing import LINK, NormalisedAirContract, frame


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
        """To a fifth: Sionna interpolates the variance as it does the channel, which is too much
        between pilots and too little beyond them."""
        sent = frame("a", batch=200, symbols=12 * LINK.subcarriers)
        (got,) = self.build(6.0).transmit([sent], seed=6)
        error = (got.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
        assert float(error) == pytest.approx(float(got.noise_var[sent.valid].mean()), rel=0.2)


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


def test_knowing_more_of_the_channel_helps() -> None:
    def build(**settings: str) -> Air:
        return named_air("tdl-a", speed_mps=10.0, **settings).build(Link(bandwidth_hz=1e6), 10.0)

    perfect = _error(build())
    lmmse, linear, nearest = (
        _error(build(csi="estimated", interpolation=how)) for how in ("lmmse", "linear", "nearest")
    )
    assert perfect < lmmse < linear < nearest < _error(build(csi="none"))


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
    with pytest.raises(ValueError, match="needs pilots"):
        named_air("tdl-a", csi="estimated").build(Link(dmrs_symbols=0), 5.0)
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
