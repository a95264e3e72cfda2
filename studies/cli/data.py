"""``tokcom data`` and ``tokcom zoo``: data sets and the pocket checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from tokcom_core.storage import writing

from .printing import console, plain_table, print_table, quieten

if TYPE_CHECKING:
    from tokcom_core.datasets.miniclevr.write import ImagePlan

data_app = typer.Typer(no_args_is_help=True, help="Make, prepare and check data sets.")
zoo_app = typer.Typer(no_args_is_help=True, help="The pocket checkpoints.")


@data_app.command()
def minimusic(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    clips: Annotated[int, typer.Option(min=12, help="Clips over all splits.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    report: Annotated[
        bool,
        typer.Option(
            "--report", help="Also tell what the slid tokens of these clips cover and carry."
        ),
    ] = False,
) -> None:
    """Writes a MiniMUSIC data set: clips as .mp4 with sound, annotations as in MUSIC-AVQA."""
    from rich.progress import Progress

    from tokcom_core.datasets.minimusic.write import write_minimusic

    with Progress(console=console) as progress:
        task = progress.add_task("clips", total=clips)
        write_minimusic(folder, clips, seed, progress=lambda n: progress.advance(task, n))
    console.print(f"{clips} clips in {folder}", highlight=False)
    if report:
        _show_tokens(folder)


@data_app.command()
def miniclevr(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    images: Annotated[int, typer.Option(min=25, help="Images over all splits.")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    jpeg_quality: Annotated[
        int | None, typer.Option(min=1, max=95, help="JPEG images of this quality, not PNG.")
    ] = None,
    reviews: Annotated[
        int | None, typer.Option(min=25, help="Reviews of three sentences; as many as images.")
    ] = None,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also tell how often each question's best guess is right."),
    ] = False,
) -> None:
    """Writes a MiniCLEVR data set: images, questions as in CLEVR, captions and reviews."""
    from rich.progress import Progress

    from tokcom_core.datasets.data import MiniClevr
    from tokcom_core.datasets.miniclevr.write import write_miniclevr

    data = MiniClevr(images=images, seed=seed, jpeg_quality=jpeg_quality, reviews=reviews)
    with Progress(console=console) as progress:
        task = progress.add_task("images", total=images)
        plans = write_miniclevr(folder, data, progress=lambda n: progress.advance(task, n))
    kilobits = 8e-3 * fmean(plan.file(folder).stat().st_size for plan in plans)
    console.print(f"{images} images of {kilobits:.1f} kbit in {folder}", highlight=False)
    if report:
        _show_answers(plans)


def _show_answers(plans: Sequence[ImagePlan]) -> None:
    from tokcom_core.datasets.miniclevr.report import answer_report

    shown = plain_table(
        "type",
        "questions",
        "answers",
        "most frequent",
        "fraction",
        title="answers by question type",
    )
    for row in answer_report(plans):
        shown.add_row(
            row.type, str(row.questions), str(row.answers), row.most_frequent, f"{row.share:.2f}"
        )
    print_table(console, shown)


def _show_tokens(folder: Path) -> None:
    from tokcom_core.datasets.media import prepare as prepare_media
    from tokcom_core.zoo.minimusic.readout import coverage, readout

    quieten()
    prepare_media(folder)
    read = readout(folder)
    shown = plain_table(
        "tokens",
        "places",
        "appearances",
        "beats",
        *read,
        title="fraction met (geometry), and fraction of sources a linear probe reads",
    )
    for i, row in enumerate(coverage()):
        shown.add_row(
            str(row.tokens),
            f"{row.places:.2f}",
            f"{row.appearances:.2f}",
            f"{row.beats:.2f}",
            *(f"{fractions[i]:.2f}" for fractions in read.values()),
        )
    print_table(console, shown)


@data_app.command()
def prepare(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A data set with 'video' folders.")],
    frames: Annotated[
        int, typer.Option(min=1, help="Frames kept of a clip, evenly over it; with --rate at most.")
    ] = 32,
    size: Annotated[
        int, typer.Option(min=1, help="Pixels: a longer side is squashed to it.")
    ] = 224,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, help="Frames a second from the clip's start; the paper's code: 0.6"),
    ] = None,
) -> None:
    """Extracts frames and 16 kHz mono sound from .mp4; what is extracted already is kept."""
    from rich.progress import Progress

    from tokcom_core.datasets import media
    from tokcom_core.datasets.video import Sampling

    sampling = Sampling(frames, size, rate)
    progress = Progress(console=console)
    task = progress.add_task("extracting", total=None)
    with ExitStack() as screen:

        def advance(clips: int) -> None:
            if not progress.live.is_started:  # once the folder has been found to be one
                screen.enter_context(progress)
            progress.advance(task, clips)

        done = media.prepare(folder, sampling, progress=advance)
    console.print(f"{done.done} clips extracted, {done.kept} kept from before")
    if done.damaged:
        raise ValueError(
            f"{len(done.damaged)} damaged clips were skipped: "
            f"{', '.join(str(d) for d in done.damaged)}; replace or remove them"
        )


@zoo_app.command()
def build(
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write the checkpoints.")],
    world: Annotated[
        list[str] | None,
        typer.Option(help="minimusic, miniclevr or drawing; may be repeated; all by default."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Pretrains the pocket checkpoints from nothing, a folder for each world."""
    import logging

    from tokcom_core.zoo.build import WORLDS

    chosen = list(dict.fromkeys(world or WORLDS))
    for name in chosen:
        if name not in WORLDS:
            raise ValueError(f"no world {name!r}; take some of {', '.join(WORLDS)}")
    quieten()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with writing(out):
        for name in chosen:
            WORLDS[name].build(out / WORLDS[name].folder, seed)
    for name in chosen:
        _show_scores(out / WORLDS[name].folder, name)


@zoo_app.command()
def show(
    folder: Annotated[
        Path | None,
        typer.Argument(help="A world's folder made by 'zoo build'; the shipped zoo by default."),
    ] = None,
) -> None:
    """Says how good the pocket checkpoints are."""
    from tokcom_core.checkpoints import pocket_folder
    from tokcom_core.zoo.build import WORLDS

    if folder is not None:
        _show_scores(folder, str(folder))
        return
    for name, world in WORLDS.items():
        _show_scores(pocket_folder(world.checkpoints), name)


def _show_scores(folder: Path, title: str) -> None:
    from tokcom_core.zoo.scores import read_scores

    shown = plain_table("checkpoint", "what", "accuracy", title=title)
    for kind, scores in read_scores(folder).items():
        for name, accuracy in scores.items():
            shown.add_row(kind, name, f"{accuracy:.3f}")
    print_table(console, shown)
