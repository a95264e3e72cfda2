"""Users of a cell: SNR and path gain, against Sionna's model called bare and TR 38.901."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy import stats
from torch import Tensor

from ..catalogue.names import named_air
from ..numerology import Link
from ..seeding import sionna_seeded
from ..sionna_api import UMi, gen_single_sector_topology
from ..sources.budget import THERMAL_NOISE_DBM_HZ
from ..sources.cell import upright
from ..sources.profiles import linear_array
from ..sources.source import Request
from .check import KS_CRITICAL, SIGMAS, Check, Curve, qpsk, send

_LINK = Link()
_UMI_STATION_M = 10.0


def cell() -> Iterator[Check]:
    """SNR of users in a UMi sector against Sionna's model called bare, with a link budget."""
    count = 3000
    _, symbols = qpsk(count, 1, seed=2)
    *_, snr_db = send(named_air("umi").build(_LINK, math.nan), symbols, seed=13)
    with sionna_seeded(99):
        model = UMi(
            carrier_frequency=3.5e9,
            o2i_model="low",
            ut_array=linear_array(1, 3.5e9, "cpu"),
            bs_array=linear_array(1, 3.5e9, "cpu", pattern="38.901"),
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
    critical = KS_CRITICAL * math.sqrt(2 / count)
    yield Check("cell", "KS distance of SNR, umi", 0, "", float(found.statistic), 0.0, critical)
    quantiles = Curve("cell", "SNR (dB) at quantile", "quantile")
    for share in (0.05, 0.5, 0.95):
        wanted = float(torch.quantile(expected, share))
        ranks = stats.binom(count, share).interval(1 - 2 * float(stats.norm.sf(SIGMAS)))
        ordered = expected.sort().values
        reach = float(ordered[int(ranks[1])] - ordered[int(ranks[0])])
        got = float(torch.quantile(snr_db, share))
        yield quantiles.check(share, got, wanted, reach)


def path_gain() -> Iterator[Check]:
    """Mean path gain over distance of outdoor users in UMi, by TR 38.901 itself.

    LOS probability of table 7.4.2-1, path loss and shadowing of table 7.4.1-1 (up to the breakpoint
    distance of 210 m), the mean over lognormal shadowing; omnidirectional antennas.
    """
    count = 8000
    air = named_air("umi", indoor_prob=0.0, antenna_pattern="omni", carrier_ghz=3.5)
    source = air.source(_LINK, "cpu")
    assert source is not None
    location = source.realise(Request(count, 1, 1.0, _LINK.subcarriers, 23, "a")).location
    distance_m = torch.hypot(location["x_m"], location["y_m"]).double()
    gain = 10 ** (-location["path_loss_db"].double() / 10)
    slant_m = torch.hypot(distance_m, location["height_m"].double() - _UMI_STATION_M)
    with_sight_db = 32.4 + 21 * slant_m.log10() + 20 * math.log10(3.5)
    without_db = 22.4 + 35.3 * slant_m.log10() + 21.3 * math.log10(3.5)
    sight = (18 / distance_m + (-distance_m / 36).exp() * (1 - 18 / distance_m)).clamp(max=1)
    expected = sight * _mean_gain(with_sight_db, 4.0)
    expected += (1 - sight) * _mean_gain(torch.maximum(with_sight_db, without_db), 7.82)
    curve = Curve("path gain", "mean gain (dB), umi", "distance (m)")
    for low, high in ((10, 30), (30, 50), (50, 70), (70, 90), (90, 110)):
        inside = (distance_m >= low) & (distance_m < high)
        ratio = gain[inside] / expected[inside]
        theory_db = float(10 * expected[inside].mean().log10())
        measured_db = theory_db + 10 * math.log10(float(ratio.mean()))
        error = float(ratio.std()) / math.sqrt(len(ratio))
        tolerance_db = 10 / math.log(10) * SIGMAS * error / float(ratio.mean())
        yield curve.check((low + high) / 2, measured_db, theory_db, tolerance_db)


def _mean_gain(loss_db: Tensor, shadowing_db: float) -> Tensor:
    """Mean linear gain under lognormal shadowing."""
    return 10 ** (-loss_db / 10) * math.exp((math.log(10) / 10 * shadowing_db) ** 2 / 2)
