"""``tokcom study speed``: how fast this machine computes what devices and base station compute."""

from __future__ import annotations

from typing import Annotated

import typer

from .options import StudyDir
from .printing import console, plain_table, print_table, quieten


def speed(
    folder: StudyDir,
    method: Annotated[
        str | None,
        typer.Option(help="A method's label; by default the first one that is trained."),
    ] = None,
    questions: Annotated[
        int, typer.Option(min=1, help="Maximum number of test questions to answer.")
    ] = 50,
) -> None:
    """Measures the GFLOP/s of devices and base station here, for the key 'compute'."""
    import torch

    from ..execution.speeds import measure_speeds
    from ..storage.folder import StudyFolder

    quieten()
    speeds = measure_speeds(StudyFolder(folder), method, questions)
    shown = plain_table("", "GFLOP", "ms", "GFLOP/s")
    for name, speed in {**speeds.devices, "base station": speeds.station}.items():
        shown.add_row(
            name, f"{speed.gflop:.3g}", f"{1e3 * speed.seconds:.3g}", f"{speed.gflops:.3g}"
        )
    print_table(console, shown)
    tokens = ", ".join(f"{count} {device}" for device, count in speeds.tokens.items())
    console.print(
        f"{speeds.method}{f', {tokens} tokens' if tokens else ''}; mean of {speeds.questions} "
        f"questions, one at a time, {torch.get_num_threads()} threads"
    )
    compute = speeds.compute.model_dump(exclude_none=True)
    values = ", ".join(f"{name}: {value:g}" for name, value in compute.items())
    console.print(f'--set "compute={{{values}}}"', soft_wrap=True, highlight=False)
