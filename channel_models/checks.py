"""Physics checks: what the airs do, measured against closed forms.

Every tolerance is :data:`SIGMAS` standard errors of the measurement, or the critical value of the
Kolmogorov-Smirnov statistic at the same improbability; none is chosen by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import eval_genlaguerre, exp1, factorial, j0
from sionna.phy.channel import gen_single_sector_topology
from sionna.phy.channel.tr38901 import UMi
from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder
from torch import Tensor

from .air import Frame
from .catalogue import named_air
from .digital.abstraction import block_error_rate, usable_mcs
from .digital.modem import Modem, modem, packet
from .numerology import Link
from .seeding import sionna_seeded
from .sources.budget import THERMAL_NOISE_DBM_HZ
from .sources.cell import upright
from .sources.fading import array
from .sources.source import Request

SIGMAS = 4.5
"""About one false alarm in 150,000 checks."""
_KS_CRITICAL = math.sqrt(-0.5 * math.log(stats.norm.sf(SIGMAS)))
_LINK = Link()
_UMI_STATION_M = 10.0


@dataclass(frozen=True)
class Check:
    """One quantity, measured and expected.

    Attributes:
        subject: what is checked, such as ``qpsk on rayleigh``.
        quantity: what is measured.
        x: abscissa of a curve, and what it is.
        x_label: see ``x``; empty for a single number.
        measured: by simulation.
        expected: by theory.
        tolerance: greatest difference that chance allows.
    """

    subject: str
    quantity: str
    x: float
    x_label: str
    measured: float
    expected: float
    tolerance: float

    @property
    def passes(self) -> bool:
        return abs(self.measured - self.expected) <= self.tolerance


class Distribution(Protocol):
    """A law of probability, as SciPy freezes them."""

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def ppf(self, q: float) -> float: ...


def run_checks(subject: str = "") -> Iterator[Check]:
    """Every check whose subject begins with ``subject``, as they are done."""
    for name, check in CHECKS.items():
        if name.startswith(subject):
            yield from check()


def _send(
    air: str, snr_db: float, symbols: Tensor, seed: int, antennas: int = 1, **settings: object
) -> tuple[Tensor, Tensor, Tensor]:
    """Sends symbols ``[B, N]``; returns what arrives, its error variance, the receive SNR."""
    link = Link(antennas=antennas)
    ones = torch.ones(len(symbols))
    frame = Frame("a", "data", symbols, torch.ones(symbols.shape, dtype=torch.bool), ones)
    (got,) = named_air(air, **settings).build(link, snr_db).transmit([frame], seed)
    return got.symbols, got.noise_var, got.realised_snr_db


def _qpsk(batch: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(0, 2, (batch, count, 2), generator=generator).float()
    return bits, torch.view_as_complex((1 - 2 * bits) / math.sqrt(2))


def _bit_errors(air: str, ebn0_db: float, batch: int, count: int, antennas: int = 1) -> Tensor:
    """Share of wrong bits of each sample ``[B]``; QPSK has two bits a symbol."""
    bits, symbols = _qpsk(batch, count, seed=1)
    got, *_ = _send(air, ebn0_db + 10 * math.log10(2), symbols, seed=11, antennas=antennas)
    wrong: Tensor = ((torch.view_as_real(got) < 0).float() != bits).double().mean((1, 2))
    return wrong


def _mean_check(
    subject: str, quantity: str, x: float, x_label: str, samples: Tensor, expected: float
) -> Check:
    """A mean of independent samples against its expectation."""
    spread = float(samples.double().std()) / math.sqrt(len(samples))
    mean = float(samples.double().mean())
    return Check(subject, quantity, x, x_label, mean, expected, SIGMAS * spread)


def qpsk_on_awgn() -> Iterator[Check]:
    """BER = Q(sqrt(2 Eb/N0))."""
    for ebn0_db in (0.0, 2.0, 4.0, 6.0, 8.0):
        expected = float(stats.norm.sf(math.sqrt(2 * 10 ** (ebn0_db / 10))))
        wrong = _bit_errors("awgn", ebn0_db, 200, 20_000)
        yield _mean_check("qpsk on awgn", "bit error rate", ebn0_db, "Eb/N0 (dB)", wrong, expected)


def qpsk_on_rayleigh() -> Iterator[Check]:
    """BER = (1 - sqrt(g / (1 + g))) / 2, coherent."""
    for ebn0_db in (0.0, 5.0, 10.0, 15.0):
        gamma = 10 ** (ebn0_db / 10)
        wrong = _bit_errors("rayleigh", ebn0_db, 200_000, 2)
        expected = (1 - math.sqrt(gamma / (1 + gamma))) / 2
        yield _mean_check(
            "qpsk on rayleigh", "bit error rate", ebn0_db, "Eb/N0 (dB)", wrong, expected
        )


def receive_diversity() -> Iterator[Check]:
    """Maximum ratio combining of M branches (Proakis, eq. 14.4-15)."""
    gamma = 10 ** (5.0 / 10)
    p = (1 - math.sqrt(gamma / (1 + gamma))) / 2
    for branches in (1, 2, 4):
        expected = p**branches * sum(
            math.comb(branches - 1 + k, k) * (1 - p) ** k for k in range(branches)
        )
        wrong = _bit_errors("rayleigh", 5.0, 400_000, 2, antennas=branches)
        yield _mean_check(
            "receive diversity", "bit error rate", branches, "antennas", wrong, expected
        )


def ldpc_on_awgn() -> Iterator[Check]:
    """5G LDPC, k = 64, n = 128, QPSK, 20 iterations: BLER as in Sionna's notebook."""
    encoder = LDPC5GEncoder(64, 128, precision="single", device="cpu")
    decoder = LDPC5GDecoder(encoder, num_iter=20, hard_out=True, precision="single", device="cpu")
    radio = modem(packet(64, 3), "cpu")
    for ebn0_db, expected in ((1.0, 5.0e-1), (2.0, 1.55e-1), (3.0, 2.3e-2)):
        generator = torch.Generator().manual_seed(3)
        bits = torch.randint(0, 2, (6000, 64), generator=generator).float()
        coded = encoder(bits).reshape(6000, 64, 2)
        symbols = torch.view_as_complex(((1 - 2 * coded) / math.sqrt(2)).contiguous())
        got, noise_var, _ = _send("awgn", ebn0_db, symbols, seed=5)  # one bit a symbol: R m = 1
        lost = (decoder(radio.soft_bits(got, noise_var)) != bits).any(1).double()
        check = _mean_check(
            "ldpc on awgn", "block error rate", ebn0_db, "Eb/N0 (dB)", lost, expected
        )
        rounding = 0.03 * expected  # the reference has two digits
        yield Check(**{**check.__dict__, "tolerance": check.tolerance + rounding})


_TDL_A = (
    (0.0, -13.4), (0.3819, 0.0), (0.4025, -2.2), (0.5868, -4.0), (0.4610, -6.0), (0.5375, -8.2),
    (0.6708, -9.9), (0.5750, -10.5), (0.7618, -7.5), (1.5375, -15.9), (1.8978, -6.6),
    (2.2242, -16.7), (2.1718, -12.4), (2.4942, -15.2), (2.5119, -10.8), (3.0582, -11.3),
    (4.0810, -12.7), (4.4579, -16.2), (4.5695, -18.3), (4.7966, -18.9), (5.0066, -16.6),
    (5.3043, -19.9), (9.6586, -29.7),
)  # fmt: skip
"""Normalised delay and power in dB of each tap, TR 38.901 table 7.7.2-1."""


def tdl_a_taps() -> Iterator[Check]:
    """Tap powers of TR 38.901 table 7.7.2-1, and the RMS delay spread that was asked for."""
    source = named_air("tdl-a", delay_spread_ns=300.0).source(_LINK, "cpu")
    assert source is not None
    channel = source.realise(Request(20_000, 1, 1.0, 12, 7, "a"))
    power = channel.gains[:, 0, :, 0].abs().square().double()
    table = sorted(_TDL_A)
    total = sum(10 ** (db / 10) for _, db in table)
    order = torch.argsort(channel.delays_s[0])
    for (delay, db), tap in zip(table, order, strict=True):
        expected = 10 ** (db / 10) / total
        yield _mean_check("tdl-a taps", "power", delay, "normalised delay", power[:, tap], expected)
    mean = power.mean(0)
    delays = channel.delays_s[0].double()
    spread = float(
        ((mean * delays**2).sum() / mean.sum() - ((mean * delays).sum() / mean.sum()) ** 2).sqrt()
    )
    error = float((power.std(0) / math.sqrt(len(power)) * (delays / spread) ** 2).sum()) / 2
    yield Check(
        "tdl-a taps", "RMS delay spread / 300 ns", 0, "", spread / 3e-7, 1.0, SIGMAS * error
    )


def doppler() -> Iterator[Check]:
    """Autocorrelation of a Rayleigh tap: J0(2 pi f_D tau)."""
    speed_mps, carrier_hz, sampling_hz = 30.0, 3.5e9, 28e3
    shift_hz = speed_mps * carrier_hz / 299_792_458.0
    source = named_air("tdl-a", speed_mps=speed_mps).source(_LINK, "cpu")
    assert source is not None
    gains = source.realise(Request(4_000, 57, sampling_hz, 12, 8, "a")).gains[:, 0]
    for lag in (7, 14, 28, 56):
        products = (gains[..., 0].conj() * gains[..., lag]).real.sum(1)
        delay = lag / sampling_hz
        expected = float(j0(2 * math.pi * shift_hz * delay))
        yield _mean_check("doppler", "autocorrelation", delay * 1e3, "lag (ms)", products, expected)


def _distribution_check(
    subject: str, name: str, x_label: str, samples: NDArray[np.float64], law: Distribution
) -> Iterator[Check]:
    """Kolmogorov-Smirnov distance to a law, and the share of samples below its quantiles."""
    count = len(samples)
    distance = float(stats.kstest(samples, law.cdf).statistic)
    critical = _KS_CRITICAL / math.sqrt(count)
    yield Check(subject, f"KS distance, {name}", 0, "", distance, 0.0, critical)
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        at = float(law.ppf(share))
        error = math.sqrt(share * (1 - share) / count)
        below = float((samples < at).mean())
        yield Check(subject, f"share below, {name}", at, x_label, below, share, SIGMAS * error)


def amplitudes() -> Iterator[Check]:
    """Power |h|^2 of block fading: exponential (Rayleigh), noncentral chi^2 (Rician)."""
    _, symbols = _qpsk(20_000, 1, seed=2)
    *_, snr_db = _send("rayleigh", 0.0, symbols, seed=8)
    power = 10 ** (snr_db.double().numpy() / 10)
    yield from _distribution_check("amplitudes", "rayleigh", "|h|²", power, stats.expon())
    for k_db in (0.0, 6.0, 12.0):
        *_, snr_db = _send("rician", 0.0, symbols, seed=9, k_factor_db=k_db)
        k = 10 ** (k_db / 10)
        power = 10 ** (snr_db.double().numpy() / 10)
        law = stats.ncx2(2, 2 * k, scale=1 / (2 * (k + 1)))
        yield from _distribution_check("amplitudes", f"rician {k_db:g} dB", "|h|²", power, law)


def ergodic_capacity() -> Iterator[Check]:
    """E log2(1 + g |h|^2) = exp(1/g) E1(1/g) / ln 2 on Rayleigh fading, from the announced SINR."""
    _, symbols = _qpsk(50_000, 1, seed=2)
    for snr_db in (0.0, 10.0, 20.0):
        gamma = 10 ** (snr_db / 10)
        _, noise_var, _ = _send("rayleigh", snr_db, symbols, seed=10)
        expected = math.exp(1 / gamma) * float(exp1(1 / gamma)) / math.log(2)
        rate = -torch.log2(noise_var[:, 0])
        yield _mean_check("ergodic capacity", "bit/s/Hz", snr_db, "SNR (dB)", rate, expected)


def multiuser_mimo() -> Iterator[Check]:
    """Error variance of LMMSE detection, E[1 / (1 + g lambda)] over Wishart eigenvalues (Telatar).

    Eight antennas; as the users become as many, the SINR falls.
    """
    antennas, gamma = 8, 10.0
    link = Link(access="sdma", antennas=antennas)
    air = named_air("rayleigh").build(link, 10.0)
    _, symbols = _qpsk(4000, 1, seed=4)
    valid, ones = torch.ones(symbols.shape, dtype=torch.bool), torch.ones(len(symbols))
    for users in (1, 2, 4, 6, 8):
        frames = [Frame(f"u{i}", "data", symbols, valid, ones) for i in range(users)]
        errors = torch.stack([r.noise_var[:, 0] for r in air.transmit(frames, 12)]).mean(0)
        expected = _wishart_mean(antennas, users, lambda x: 1 / (1 + gamma * x))
        yield _mean_check("mu-mimo", "mean error variance", users, "users", errors, expected)


def _wishart_mean(antennas: int, users: int, f: Callable[[float], float]) -> float:
    """Mean of f over an unordered eigenvalue of H^H H, H ``[antennas, users]`` of CN(0, 1)."""
    excess = antennas - users

    def density(x: NDArray[np.float64]) -> NDArray[np.float64]:
        terms = [
            factorial(k) / factorial(k + excess) * eval_genlaguerre(k, excess, x) ** 2
            for k in range(users)
        ]
        found: NDArray[np.float64] = np.sum(terms, axis=0) * x**excess * np.exp(-x) / users
        return found

    x = np.linspace(0.0, 80.0, 400_001)
    return float(np.trapezoid(density(x) * np.vectorize(f)(x), x))


def cell() -> Iterator[Check]:
    """SNR of users in a UMi sector against Sionna's model called bare, with a link budget."""
    count = 3000
    _, symbols = _qpsk(count, 1, seed=2)
    *_, snr_db = _send("umi", math.nan, symbols, seed=13)
    with sionna_seeded(99):
        model = UMi(
            carrier_frequency=3.5e9,
            o2i_model="low",
            ut_array=array(1, 3.5e9, "cpu"),
            bs_array=array(1, 3.5e9, "cpu", pattern="38.901"),
            direction="uplink",
            precision="single",
            device="cpu",
        )
        model.set_topology(
            *upright(*gen_single_sector_topology(count, 1, "umi", precision="single", device="cpu"))
        )
        gains, delays = model(1, 1.0)
    carriers = (torch.arange(_LINK.subcarriers) - _LINK.subcarriers // 2) * 30e3
    rotation = torch.exp(-2j * torch.pi * delays[:, 0, 0, :, None] * carriers)
    response = (gains[:, 0, 0, 0, 0, :, :1] * rotation).sum(1)
    gain_db = 10 * torch.log10(response.abs().square().mean(1))
    noise_dbm = THERMAL_NOISE_DBM_HZ + 5.0 + 10 * math.log10(_LINK.subcarriers * 30e3)
    expected = gain_db + _LINK.tx_power_dbm - noise_dbm
    found = stats.ks_2samp(snr_db.numpy(), expected.numpy())
    critical = _KS_CRITICAL * math.sqrt(2 / count)
    yield Check("cell", "KS distance of SNR, umi", 0, "", float(found.statistic), 0.0, critical)
    for share in (0.05, 0.5, 0.95):
        wanted = float(torch.quantile(expected, share))
        ranks = stats.binom(count, share).interval(1 - 2 * float(stats.norm.sf(SIGMAS)))
        ordered = expected.sort().values
        reach = float(ordered[int(ranks[1])] - ordered[int(ranks[0])])
        got = float(torch.quantile(snr_db, share))
        yield Check("cell", "SNR (dB) at quantile", share, "quantile", got, wanted, reach)


def path_gain() -> Iterator[Check]:
    """Mean path gain over distance of outdoor users in UMi, by TR 38.901 itself.

    LOS probability of table 7.4.2-1, path loss and shadowing of table 7.4.1-1 (up to the breakpoint
    distance of 210 m), the mean over lognormal shadowing; omnidirectional antennas.
    """
    count = 8000
    air = named_air("umi", indoor_prob=0.0, antenna_pattern="omni", carrier_ghz=3.5)
    source = air.source(_LINK, "cpu")
    assert source is not None
    site = source.realise(Request(count, 1, 1.0, _LINK.subcarriers, 23, "a")).site
    distance_m = torch.hypot(site["x_m"], site["y_m"]).double()
    gain = 10 ** (-site["path_loss_db"].double() / 10)
    slant_m = torch.hypot(distance_m, site["height_m"].double() - _UMI_STATION_M)
    with_sight_db = 32.4 + 21 * slant_m.log10() + 20 * math.log10(3.5)
    without_db = 22.4 + 35.3 * slant_m.log10() + 21.3 * math.log10(3.5)
    sight = (18 / distance_m + (-distance_m / 36).exp() * (1 - 18 / distance_m)).clamp(max=1)
    expected = sight * _mean_gain(with_sight_db, 4.0)
    expected += (1 - sight) * _mean_gain(torch.maximum(with_sight_db, without_db), 7.82)
    for low, high in ((10, 30), (30, 50), (50, 70), (70, 90), (90, 110)):
        inside = (distance_m >= low) & (distance_m < high)
        ratio = gain[inside] / expected[inside]
        theory_db = float(10 * expected[inside].mean().log10())
        measured_db = theory_db + 10 * math.log10(float(ratio.mean()))
        error = float(ratio.std()) / math.sqrt(len(ratio))
        tolerance_db = 10 / math.log(10) * SIGMAS * error / float(ratio.mean())
        yield Check(
            "path gain", "mean gain (dB), umi", (low + high) / 2, "distance (m)",
            measured_db, theory_db, tolerance_db,
        )  # fmt: skip


def _mean_gain(loss_db: Tensor, shadowing_db: float) -> Tensor:
    """Mean linear gain under lognormal shadowing."""
    return 10 ** (-loss_db / 10) * math.exp((math.log(10) / 10 * shadowing_db) ** 2 / 2)


def phy_abstraction() -> Iterator[Check]:
    """SNR at which half the packets are lost: Sionna SYS's tables against decoding every packet.

    The tables are sampled 1.6 dB apart: within 0.75 dB.
    """
    for mcs in (4, 10, 19, 24):
        assert mcs in usable_mcs("cpu")
        radio = modem(packet(528, mcs), "cpu")
        generator = torch.Generator().manual_seed(mcs)
        bits = torch.randint(0, 2, (120, 528), generator=generator)
        grid = np.arange(-4.0, 28.0, 0.25)
        tables = block_error_rate(
            torch.tensor(10 ** (grid / 10)).float(),
            torch.full((len(grid),), mcs),
            torch.full((len(grid),), radio.packet.symbols),
        )
        by_table = float(grid[int((tables < 0.5).float().argmax())])
        by_link = next(
            snr_db
            for snr_db in grid[grid >= by_table - 2.0]
            if _packet_loss(radio, bits, float(snr_db)) < 0.5
        )
        yield Check("phy abstraction", "SNR (dB) at BLER 0.5", mcs, "MCS", by_table, by_link, 0.75)


def _packet_loss(radio: Modem, bits: Tensor, snr_db: float) -> float:
    got, noise_var, _ = _send("awgn", snr_db, radio.modulate(bits), seed=21)
    _, intact = radio.decode(radio.soft_bits(got, noise_var))
    return 1 - float(intact.double().mean())


CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "qpsk on awgn": qpsk_on_awgn,
    "qpsk on rayleigh": qpsk_on_rayleigh,
    "receive diversity": receive_diversity,
    "ldpc on awgn": ldpc_on_awgn,
    "tdl-a taps": tdl_a_taps,
    "doppler": doppler,
    "amplitudes": amplitudes,
    "ergodic capacity": ergodic_capacity,
    "mu-mimo": multiuser_mimo,
    "path gain": path_gain,
    "cell": cell,
    "phy abstraction": phy_abstraction,
}
"""By subject."""
