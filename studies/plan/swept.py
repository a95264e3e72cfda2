"""Keys of other configs that a study sweeps: each of their values gives a config of its own."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from actors import EmulationConfig
from channel_models import DigitalConfig, Link, LinkSettings

from .lists import SEVERAL

_Count = Annotated[int, Field(ge=1)]
_Power = Annotated[float, Field(ge=-100, le=60)]


def _keys(value: Any) -> Any:
    """The keys of a config that sweeps nothing, such as Python code may pass."""
    return dict(value) if isinstance(value, BaseModel) else value


class SweptLink(LinkSettings):
    """Links that differ in transmit power, and in bandwidth, which is a key of the study itself.

    Attributes:
        tx_power_dbm: Maximum transmit power of a device, one value or several.
    """

    tx_power_dbm: Annotated[tuple[_Power, ...], *SEVERAL] = (23.0,)

    @model_validator(mode="before")
    @classmethod
    def _swept_elsewhere(cls, raw: Any) -> Any:
        if isinstance(raw, Link):
            raw = raw.model_dump(include=raw.model_fields_set)
        if isinstance(raw, dict) and "bandwidth_hz" in raw:
            raise ValueError("bandwidth_hz is a key of the study itself, not of its link")
        return raw

    def at(self, bandwidth_hz: float, tx_power_dbm: float) -> Link:
        """One of the links, which may be too narrow to carry anything."""
        keys = self.model_dump() | {"tx_power_dbm": tx_power_dbm}
        return Link(**keys).model_copy(update={"bandwidth_hz": bandwidth_hz})


class SweptDigital(DigitalConfig):
    """Digital links that differ in the bits of a value.

    Attributes:
        bits: Bits of each real value of a token, one number or several.
    """

    bits: Annotated[tuple[Literal[4, 8, 16], ...], *SEVERAL] = (8,)  # type: ignore[assignment]

    @property
    def each(self) -> tuple[DigitalConfig, ...]:
        """A link for each number of bits."""
        return tuple(DigitalConfig(**{**dict(self), "bits": bits}) for bits in self.bits)


class SweptEmulation(EmulationConfig):
    """Emulations that differ in their number of users.

    Attributes:
        users: Number of users, one or several.
    """

    users: Annotated[tuple[_Count, ...], *SEVERAL] = (1000,)  # type: ignore[assignment]

    @property
    def users_an_interval(self) -> int:
        """The most users that send in one interval of any of the emulations."""
        return min(self.users_at_once, max(self.users))

    @property
    def each(self) -> tuple[EmulationConfig, ...]:
        """An emulation for each number of users."""
        return tuple(EmulationConfig(**{**dict(self), "users": users}) for users in self.users)


def mcs_choices(fidelity: str) -> range:
    """The MCS that a digital link of this fidelity can have.

    ``abstract`` draws from Sionna's block error rates, which do not exist for the two lowest MCS.
    This is said here as well as where packets are made, since importing Sionna takes seconds.
    """
    return range(2, 28) if fidelity == "abstract" else range(28)


D = TypeVar("D", bound=DigitalConfig)


def check_mcs(digital: D) -> D:
    """The digital link, if it can have its MCS.

    Raises:
        ValueError: if it cannot.
    """
    known = mcs_choices(digital.fidelity)
    if digital.mcs != "adaptive" and digital.mcs not in known:
        raise ValueError(
            f"mcs {digital.mcs} has no table at fidelity {digital.fidelity}; take "
            f"{known[0]} to {known[-1]} or adaptive"
        )
    return digital


AnyDigital = Annotated[SweptDigital, BeforeValidator(_keys), AfterValidator(check_mcs)]
AnyEmulation = Annotated[SweptEmulation, BeforeValidator(_keys)]
