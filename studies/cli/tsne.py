"""``tokcom study tsne``: clips' embeddings before and after an alignment."""

from __future__ import annotations

from typing import Annotated

import typer

from tokcom_core.storage import writing

from .options import StudyDir
from .printing import console, plain_table, print_table, quieten


def tsne(
    folder: StudyDir,
    method: Annotated[
        str | None,
        typer.Option(help="A method's label; by default the first one that aligns streams."),
    ] = None,
    clips: Annotated[int, typer.Option(min=2, help="Maximum number of test clips to show.")] = 200,
) -> None:
    """Draws test clips' embeddings before and after an alignment (extra 'tsne')."""
    from ..figures.tsne import require_sklearn

    require_sklearn()

    from ..execution.embedding import embed_clips
    from ..figures.tsne import write_tsne
    from ..storage.folder import StudyFolder
    from .results import print_paths

    quieten()
    study_folder = StudyFolder(folder)
    alignment = embed_clips(study_folder, method, clips)
    with writing(study_folder.report):
        written = write_tsne(study_folder, alignment)
    recalls = alignment.recalls
    shown = plain_table("recall@1 from", *recalls.columns)
    for stream, row in recalls.iterrows():
        shown.add_row(str(stream), *(f"{value:.3f}" for value in row))
    print_table(console, shown)
    chance = 1 / len(alignment.clips)
    console.print(f"{alignment.title}; {len(alignment.clips)} test clips, by chance {chance:.3f}")
    print_paths(console, study_folder, [alignment.artifact, *written])
