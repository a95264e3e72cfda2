"""Users of a cell: SNR and path gain, against Sionna's model, called directly, and TR 38.901."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

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
_HALL_STATION_M = 3.0


def cell() -> Iterator[Check]:
    """SNR of users in a UMi sector against Sionna's model, called directly, and a link budget."""
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
    distance = stats.ks_2samp(snr_db.numpy(), expected.numpy())
    critical = KS_CRITICAL * math.sqrt(2 / count)
    yield Check("cell", "KS distance of SNR, umi", 0, "", float(distance.statistic), 0.0, critical)
    quantiles = Curve("cell", "SNR (dB) at quantile", "quantile")
    for share in (0.05, 0.5, 0.95):
        wanted = float(torch.quantile(expected, share))
        ranks = stats.binom(count, share).interval(1 - 2 * float(stats.norm.sf(SIGMAS)))
        ordered = expected.sort().values
        reach = float(ordered[int(ranks[1])] - ordered[int(ranks[0])])
        measured = float(torch.quantile(snr_db, share))
        yield quantiles.check(share, measured, wanted, reach)


def path_gain() -> Iterator[Check]:
    """Mean path gain over distance in UMi, outdoors, and in InH, against TR 38.901 itself.

    The expected gain has the LOS probability of table 7.4.2-1, and path loss and shadowing of table
    7.4.1-1 (up to the breakpoint distance of 210 m). It is a mean over lognormal shadowing, for
    omnidirectional antennas.
    """
    distance_m, slant_m, gain = _users("umi", _UMI_STATION_M, indoor_prob=0.0)
    with_sight_db = 32.4 + 21 * slant_m.log10() + 20 * math.log10(3.5)
    without_db = 22.4 + 35.3 * slant_m.log10() + 21.3 * math.log10(3.5)
    sight = (18 / distance_m + (-distance_m / 36).exp() * (1 - 18 / distance_m)).clamp(max=1)
    expected = sight * _mean_gain(with_sight_db, 4.0)
    expected += (1 - sight) * _mean_gain(torch.maximum(with_sight_db, without_db), 7.82)
    bounds_m = (10, 30, 50, 70, 90, 110)
    yield from _by_distance("umi", distance_m, gain / expected, expected, bounds_m)

    distance_m, slant_m, gain = _users("inh", _HALL_STATION_M)
    with_sight_db = 32.4 + 17.3 * slant_m.log10() + 20 * math.log10(3.5)
    without_db = 17.3 + 38.3 * slant_m.log10() + 24.9 * math.log10(3.5)
    sight = (-(distance_m - 5) / 70.8).exp().clamp(max=1)  # of an open office, up to 49 m
    expected = sight * _mean_gain(with_sight_db, 3.0)
    expected += (1 - sight) * _mean_gain(torch.maximum(with_sight_db, without_db), 8.03)
    yield from _by_distance("inh", distance_m, gain / expected, expected, (5, 10, 15, 20, 25, 30))


def _users(name: str, station_m: float, **settings: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distances on the ground and in space (m) and linear path gains of users at 3.5 GHz."""
    air = named_air(name, antenna_pattern="omni", carrier_ghz=3.5, **settings)
    source = air.source(_LINK, "cpu")
    assert source is not None
    location = source.realise(Request(8000, 1, 1.0, _LINK.subcarriers, 23, "a")).location
    distance_m = torch.hypot(location["x_m"], location["y_m"]).double()
    slant_m = torch.hypot(distance_m, location["height_m"].double() - station_m)
    return distance_m, slant_m, 10 ** (-location["path_loss_db"].double() / 10)


def _by_distance(
    name: str, distance_m: Tensor, ratio: Tensor, expected: Tensor, bounds_m: Sequence[float]
) -> Iterator[Check]:
    """Mean gains between the bounds, measured as a ratio to the expected gains."""
    curve = Curve("path gain", f"mean gain (dB), {name}", "distance (m)")
    for low, high in pairwise(bounds_m):
        inside = (distance_m >= low) & (distance_m < high)
        ratios = ratio[inside]
        theory_db = float(10 * expected[inside].mean().log10())
        measured_db = theory_db + 10 * math.log10(float(ratios.mean()))
        error = float(ratios.std()) / math.sqrt(len(ratios))
        tolerance_db = 10 / math.log(10) * SIGMAS * error / float(ratios.mean())
        yield curve.check((low + high) / 2, measured_db, theory_db, tolerance_db)


def _mean_gain(loss_db: Tensor, shadowing_db: float) -> Tensor:
    """Mean linear gain under lognormal shadowing."""
    return 10 ** (-loss_db / 10) * math.exp((math.log(10) / 10 * shadowing_db) ** 2 / 2)
