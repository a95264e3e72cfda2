"""The link budget: transmit power, path loss and thermal noise instead of an average SNR."""

from __future__ import annotations

from copy import copy

import torch
from pydantic import BaseModel, Field
from torch import Tensor

from ..numerology import Link
from .source import Realisation, Request, Source

THERMAL_NOISE_DBM_HZ = -174.0
_MIN_GAIN = 1e-30


class PowerControl:
    """Open-loop uplink power control of TS 38.213, section 7.1.1, up to the maximum power.

    Args:
        p0_dbm: Target receive power of a resource block; None always sends at maximum power.
        alpha: Fraction of the path loss that is compensated.
    """

    def __init__(self, p0_dbm: float | None, alpha: float) -> None:
        self._p0_dbm = p0_dbm
        self._alpha = alpha

    def watts(self, path_gain: Tensor, subcarriers: int, max_dbm: float) -> Tensor:
        """Transmit power ``[B]`` of users with linear path gains ``[B]``."""
        from ..sionna_api import dbm_to_watt, open_loop_uplink_power_control

        if self._p0_dbm is None:
            return torch.full_like(path_gain, float(dbm_to_watt(max_dbm)))
        watts: Tensor = open_loop_uplink_power_control(
            1.0 / path_gain,
            torch.full_like(path_gain, subcarriers, dtype=torch.int32),
            alpha=self._alpha,
            p0_dbm=self._p0_dbm,
            ut_max_power_dbm=max_dbm,
            precision="single",
        )
        return watts


class BudgetedSource(Source):
    """A source of physical gains, scaled for unit-power symbols and noise of unit power.

    It adds two values to the location: ``tx_power_dbm``, and ``path_loss_db`` of the whole channel,
    which includes shadowing and antenna gains and is the mean over antennas.

    Args:
        source: Yields gains that include the path loss.
        link: Maximum power and subcarrier spacing.
        noise_figure_db: Noise figure of the base station.
        power: Determines the power that users send at.
    """

    def __init__(
        self, source: Source, link: Link, noise_figure_db: float, power: PowerControl
    ) -> None:
        from ..sionna_api import dbm_to_watt

        self.source = source
        self._power = power
        self._max_dbm = link.tx_power_dbm
        noise_watt_hz = float(dbm_to_watt(THERMAL_NOISE_DBM_HZ + noise_figure_db))
        self._noise_watt = noise_watt_hz * link.subcarrier_spacing_hz
        self.static = source.static
        self.flat = source.flat

    def around(self, source: Source) -> BudgetedSource:
        """The same budget around another source of physical gains."""
        other = copy(self)
        other.source = source
        other.static, other.flat = source.static, source.flat
        return other

    def realise(self, request: Request) -> Realisation:
        channel = self.source.realise(request)
        gain = channel.gains.abs().square().sum(2).mean((1, 2)).clamp(min=_MIN_GAIN)
        watts = self._power.watts(gain, request.subcarriers, self._max_dbm)
        amplitude = (watts / request.subcarriers / self._noise_watt).sqrt()
        location = {
            **channel.location,
            "path_loss_db": -10 * torch.log10(gain),
            "tx_power_dbm": 10 * torch.log10(watts) + 30,
        }
        return Realisation(
            channel.gains * amplitude[:, None, None, None], channel.delays_s, location
        )


class Budget(BaseModel):
    """A link budget instead of an average SNR; the link's ``tx_power_dbm`` is the maximum power.

    ``p0_dbm``, the target receive power of a resource block, turns on open-loop power control.
    """

    noise_figure_db: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    p0_dbm: float | None = Field(default=None, allow_inf_nan=False)
    alpha: float = Field(default=1.0, ge=0, le=1)

    @property
    def sets_snr(self) -> bool:
        return False

    def unused_budget(self) -> dict[str, str]:
        """Keys of the budget that change nothing beside its others, each with the reason."""
        if self.sets_snr:
            return dict.fromkeys(Budget.model_fields, "its SNR is asked for, without a link budget")
        if self.p0_dbm is None:
            return {"alpha": "devices send at full power unless p0_dbm is given"}
        return {}

    def budgeted(self, source: Source, link: Link) -> BudgetedSource:
        """A source of physical gains under this budget."""
        return BudgetedSource(
            source, link, self.noise_figure_db, PowerControl(self.p0_dbm, self.alpha)
        )
