"""``tokcom air``: the airs, their physics checks, pictures and recordings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.text import Text

from tokcom_core.storage import writing

from ..errors import explain
from ..plan.strict_yaml import parse_option
from .printing import console, plain_table, print_table

if TYPE_CHECKING:
    from channel_models import AirBase, Link

air_app = typer.Typer(no_args_is_help=True, help="The airs between devices and base station.")

Name = Annotated[str, typer.Argument(help="An air of 'tokcom air list'.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the air: speed_mps=30"),
]
Links = Annotated[
    list[str] | None,
    typer.Option("--link", metavar="KEY=VALUE", help="A setting of the link: antennas=4"),
]


@air_app.command("list")
def list_airs() -> None:
    """Every air, what it is and what can be set."""
    from channel_models import AIRS

    shown = plain_table("airs", "what", "settings")
    for config in dict.fromkeys(AIRS.values()):
        names = ", ".join(name for name, kind in AIRS.items() if kind is config)
        defaults = [
            f"{name}={field.default}"
            for name, field in config.model_fields.items()
            if name not in ("name", "sha256") and not field.is_required()
        ]
        needed = [name for name, field in config.model_fields.items() if field.is_required()]
        needed = [name for name in needed if name != "name"]
        summary = (config.__doc__ or "").split("\n\n")[0]
        shown.add_row(names, " ".join(summary.split()), ", ".join([*needed, *defaults]))
    shown.add_row("custom", "An air of your own, see docs/own_air.md.", "class, and its own keys")
    print_table(console, shown)


@air_app.command()
def check(
    subject: Annotated[str, typer.Argument(help="Only checks that begin so.")] = "",
    out: Annotated[Path, typer.Option(help="Folder of the table and the figure.")] = Path(
        "air_check"
    ),
) -> None:
    """Measures the airs against theory; exit code 1 if something lies beyond chance."""
    import pandas as pd

    from channel_models.checks import CHECKS, run_checks

    from ..figures.airs import checks_figure

    if not any(name.startswith(subject) for name in CHECKS):
        raise ValueError(f"no check {subject!r}; take some of {', '.join(CHECKS)}")
    shown = plain_table("check", "quantity", "at", "measured", "theory", "tolerance", "")
    done = []
    for item in run_checks(subject):
        done.append(item)
        at = f"{item.x:.3g} {item.x_label}" if item.x_label else ""
        numbers = (f"{v:.4g}" for v in (item.measured, item.expected, item.tolerance))
        verdict = Text("ok", "green") if item.passes else Text("off", "red")
        shown.add_row(item.subject, item.quantity, at, *numbers, verdict)
    print_table(console, shown)
    rows = [{**vars(item), "passes": item.passes} for item in done]
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_parquet(out / "checks.parquet", index=False)
        checks_figure(done).savefig(out / "checks.png", dpi=130)
    off = sum(not item.passes for item in done)
    console.print(f"{len(done) - off} of {len(done)} within tolerance", highlight=False)
    for file in ("checks.parquet", "checks.png"):
        console.print(str(out / file), soft_wrap=True, highlight=False)
    if off:
        sys.exit(1)


@air_app.command()
def plot(
    name: Name,
    out: Annotated[Path | None, typer.Option(help="The picture; NAME.png by default.")] = None,
    snr_db: Annotated[float, typer.Option(help="Where the air takes an SNR.")] = 10.0,
    settings: Settings = None,
    link: Links = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Draws an air: response, delays, SNR."""
    from ..figures.airs import air_figure

    air, chosen = _air(name, settings), _link(link)
    file = out or Path(f"{name}.png")
    with writing(file):
        air_figure(air, chosen, snr_db, seed).savefig(file, dpi=130)
    console.print(f"{air.label}: {file}", soft_wrap=True, highlight=False)


@air_app.command()
def record(
    name: Name,
    file: Annotated[Path, typer.Argument(help="The parquet file to write.")],
    count: Annotated[int, typer.Option(min=1, help="Realisations of each device.")] = 1000,
    slots: Annotated[int, typer.Option(min=1, help="Length, where users move.")] = 1,
    devices: Annotated[str, typer.Option(help="Names, with commas.")] = "vision,audio,text",
    settings: Settings = None,
    link: Links = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Records an air's realisations, to be replayed as {name: recorded, file: FILE}."""
    from channel_models import Request
    from channel_models.sources.budget import BudgetedSource
    from channel_models.sources.recording import record as record_trace

    air, chosen = _air(name, settings), _link(link)
    air.check(chosen)
    source = air.source(chosen, "cpu")
    if source is None:
        raise ValueError(f"air {name} has no fading to record")
    physical = isinstance(source, BudgetedSource)
    inner = source.source if isinstance(source, BudgetedSource) else source
    steps = 1 if source.static else 14 * slots
    request = Request(count, steps, 1e3 / chosen.symbol_ms, chosen.subcarriers, seed, "")
    carrier_hz = float(getattr(air, "carrier_ghz", 3.5)) * 1e9
    trace = record_trace(inner, request, devices.split(","), carrier_hz, physical)
    with writing(file):
        trace.write(file)
    console.print(f"{count} realisations of {devices}: {file}", soft_wrap=True, highlight=False)


def _air(name: str, settings: list[str] | None) -> AirBase:
    from channel_models import NamedAir, named_air

    try:
        return named_air(name, **_keys(settings, "--set"))
    except ValidationError as error:
        raise ValueError(explain(error, NamedAir)) from None


def _link(settings: list[str] | None) -> Link:
    from channel_models import Link

    try:
        return Link(**_keys(settings, "--link"))
    except ValidationError as error:
        raise ValueError(f"--link: {explain(error, Link)}") from None


def _keys(settings: list[str] | None, option: str) -> dict[str, Any]:
    keys = {}
    for setting in settings or ():
        key, separator, text = setting.partition("=")
        if not separator:
            raise ValueError(f"{option} {setting!r} should be key=value")
        keys[key] = parse_option(text, f"{option} {setting!r}")
    return keys
