"""An air of one's own: the example of the documentation, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from channel_models import (
    Air,
    AirBase,
    CsiSettings,
    Frame,
    LinearAir,
    Link,
    NamedAir,
    PopulationSize,
    Realisation,
    Request,
    Source,
    named_air,
)
from channel_models.sources.source import draw
from channel_models.testing import LINK, NormalisedAirContract

ADAPTER: TypeAdapter[AirBase] = TypeAdapter(NamedAir)


@pytest.fixture(autouse=True)
def _importable(my_airs: Path) -> None:
    (my_airs / "broken_airs.py").write_text("undefined_name\n")


def _nakagami(**keys: object) -> AirBase:
    return named_air("custom", **{"class": "my_airs:Nakagami", **keys})


class TestNakagami(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return _nakagami(m=3).build(LINK, snr_db)


class TestNakagamiInPackets(NormalisedAirContract):
    counts_symbols = False
    exact_when_noiseless = False
    transport = "digital"

    def build(self, snr_db: float) -> Air:
        return _nakagami(m=3, digital={"mcs": 10}).build(LINK, snr_db)


@pytest.mark.parametrize("m", [0.5, 1.0, 3.0])
def test_gains_have_nakagamis_moments(m: float) -> None:
    """E|h|^2 = 1 and Var |h|^2 = 1/m, within five standard errors (kurtosis 3 + 6/m)."""
    source = _nakagami(m=m).source(LINK, "cpu")
    assert source is not None
    count = 100_000
    power = source.realise(Request(count, 1, 1.0, 12, 4, "a")).gains.abs().square().double()
    assert abs(float(power.mean()) - 1) < 5 * math.sqrt(1 / m / count)
    spread = math.sqrt((2 + 6 / m) / count) / m
    assert abs(float(power.var()) - 1 / m) < 5 * spread


def test_it_is_written_as_it_was_read() -> None:
    air = _nakagami(m=3)
    written = air.model_dump(mode="json", exclude_defaults=True)
    assert written == {"class": "my_airs:Nakagami", "m": 3}
    assert air.model_dump(mode="json")["name"] == "custom"
    for again in (
        ADAPTER.validate_python(air.model_dump(mode="json")),
        ADAPTER.validate_json(ADAPTER.dump_json(air)),
        ADAPTER.validate_python(air),
    ):
        assert again == air
        assert hash(again) == hash(air)
    assert air != _nakagami(m=2)
    assert (air.label, _nakagami().label) == ("nakagami m=3.0", "nakagami")


def test_it_has_what_other_airs_have() -> None:
    air = _nakagami(m=3, fidelity="abstract")
    assert air.relevant_link(Link(bandwidth_hz=1e6, antennas=2)) == Link(antennas=2)
    built = air.build(Link(antennas=2), 5.0, population=PopulationSize(3, seed=1))
    assert isinstance(built, Air)
    with pytest.raises(ValueError, match="needs pilots"):
        _nakagami(csi="estimated").build(Link(dmrs_symbols=0), 5.0)


@pytest.mark.parametrize(
    ("keys", "place", "complaint"),
    [
        ({"class": "my_airs:Nakagami", "mm": 3}, ("custom", "mm"), "not permitted"),
        ({"class": "my_airs:Nakagami", "m": 0.1}, ("custom", "m"), "greater than or equal"),
        ({"class": "my_airs:Nobody"}, ("custom",), "module 'my_airs' has no 'Nobody'"),
        ({"class": "nowhere:Nakagami"}, ("custom",), "No module named 'nowhere'"),
        ({"class": "broken_airs:Nakagami"}, ("custom",), "NameError"),
        ({"class": "my_airs"}, ("custom",), "give package.module:name"),
        ({"class": "math:pi"}, ("custom",), "inherit channel_models.AirBase"),
        ({}, ("custom",), "needs 'class'"),
    ],
)
def test_what_is_no_air_is_refused(
    keys: dict[str, object], place: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        named_air("custom", **keys)
    (item,) = refusal.value.errors()
    assert item["loc"] == place
    assert complaint in item["msg"]
    assert "\n" not in item["msg"]


def test_builtin_airs_keep_their_places_of_complaint() -> None:
    with pytest.raises(ValidationError) as refusal:
        named_air("rician", k_factor=3)
    assert refusal.value.errors()[0]["loc"] == ("rician", "k_factor")


class _Given(Source):
    """Yields what it has been given."""

    def __init__(self, yields: object, flat: bool = False, static: bool = False) -> None:
        self._yields, self.flat, self.static = yields, flat, static

    def realise(self, request: Request) -> Realisation:
        return self._yields  # type: ignore[return-value]


_REQUEST = Request(batch=4, steps=3, sampling_hz=1.0, subcarriers=12, seed=0, sender="a")
_GAINS, _DELAYS_S = torch.ones(4, 2, 5, 3, dtype=torch.complex64), torch.zeros(1, 5)


@pytest.mark.parametrize(
    ("yields", "complaint"),
    [
        ((_GAINS, _DELAYS_S), "tuple; return a Realisation"),
        (Realisation(_GAINS.real, _DELAYS_S), r"gains of torch\.float32; return a complex64"),
        (Realisation(_GAINS[:3], _DELAYS_S), r"gains \[3, 2, 5, 3\]; return .* \[4, 2, 5, 3\]"),
        (Realisation(_GAINS[:, :1], _DELAYS_S), r"gains \[4, 1, 5, 3\]; return"),
        (Realisation(_GAINS[..., :1], _DELAYS_S), r"gains \[4, 2, 5, 1\]; return"),
        (Realisation(_GAINS[0], _DELAYS_S), r"gains \[2, 5, 3\]; return .* \[4, 2, paths, 3\]"),
        (Realisation(_GAINS, _DELAYS_S[0]), r"delays \[5\]; return .*\[1, 5\], .*\[4, 5\]"),
        (Realisation(_GAINS, _DELAYS_S[:, :1]), r"delays \[1, 1\]; return"),
        (Realisation(_GAINS, _DELAYS_S - 1e-6), "delays from -1e-06 to -1e-06 s; they should be"),
        (Realisation(_GAINS, _DELAYS_S + math.nan), "delays from nan to nan s; they should be"),
    ],
)
def test_what_is_no_realisation_of_a_request_is_refused(yields: object, complaint: str) -> None:
    """Many of them would be received at an SNR like any other."""
    with pytest.raises(ValueError, match=f"^source _Given yields {complaint}"):
        draw(_Given(yields), _REQUEST, antennas=2)


def test_a_path_without_gain_may_have_any_delay() -> None:
    """Sionna's ray tracer says -1 s of one that is not there."""
    delays_s = torch.tensor([[0.0, 0.0, 0.0, 0.0, -1.0]])
    with pytest.raises(ValueError, match="delays from -1 to 0 s"):
        draw(_Given(Realisation(_GAINS, delays_s)), _REQUEST, antennas=2)
    absent = torch.tensor([1, 1, 1, 1, 0])[:, None]
    draw(_Given(Realisation(_GAINS * absent, delays_s)), _REQUEST, antennas=2)


def test_a_source_should_be_as_flat_and_static_as_it_says() -> None:
    good = Realisation(_GAINS, _DELAYS_S)
    assert draw(_Given(good, flat=True, static=True), _REQUEST, antennas=2) is good
    late = Realisation(_GAINS, _DELAYS_S + 3e-7)
    assert draw(_Given(late), _REQUEST, antennas=2) is late
    with pytest.raises(ValueError, match=r"is flat, .* delays of up to 3e-07 s; say flat = False"):
        draw(_Given(late, flat=True), _REQUEST, antennas=2)
    moving = Realisation(_GAINS * torch.polar(torch.ones(3), torch.arange(3.0)), _DELAYS_S)
    with pytest.raises(ValueError, match=r"is static, .* vary over time steps; say static = False"):
        draw(_Given(moving, static=True), _REQUEST, antennas=2)


def test_a_wrong_source_is_refused_on_the_air() -> None:
    for csi in ("perfect", "estimated"):
        air = LinearAir(LINK, 0.1, _Given(None), CsiSettings(csi, "linear"))
        ones = torch.ones(4, 32)
        frame = Frame("a", "s", ones.to(torch.complex64), ones.bool(), torch.ones(4))
        with pytest.raises(ValueError, match="yields NoneType"):
            air.transmit([frame], 0)
