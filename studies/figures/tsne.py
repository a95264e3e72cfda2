"""Clips' embeddings before and after an alignment, by t-SNE (needs scikit-learn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..storage.folder import StudyFolder
from .looks import COLORS
from .printed import SCREEN, escape

_PERPLEXITY = 30

Embeddings = Mapping[str, NDArray[np.float32]]
"""Embeddings ``[B, D]`` of the same clips, by stream, the anchor first."""


@dataclass(frozen=True, eq=False)
class Alignment:
    """Embeddings of clips that a phase has not seen, before and after it.

    Attributes:
        title: What was aligned.
        artifact: Folder of the trained phase.
        clips: Names of the clips.
        panels: Their embeddings ``before`` and ``after``.
    """

    title: str
    artifact: Path
    clips: Sequence[str]
    panels: Mapping[str, Embeddings]

    @property
    def recalls(self) -> pd.DataFrame:
        """Recall@1 of the anchor from each other stream, a row for each, a column for each panel.

        It is how often a clip's own anchor is, by cosine, the most similar of all clips' anchors.
        """
        found = {name: _recalls(streams) for name, streams in self.panels.items()}
        return pd.DataFrame(found).rename_axis("stream")


def require_sklearn() -> None:
    """Raises ValueError if scikit-learn is not installed."""
    try:
        import sklearn.manifold  # noqa: F401
    except ImportError:
        raise ValueError(
            't-SNE needs scikit-learn, which is not installed: pip install "tokcom[tsne]"'
        ) from None


def write_tsne(folder: StudyFolder, alignment: Alignment) -> list[Path]:
    """Writes ``report/tsne.png`` and ``report/tsne.csv``; returns their paths."""
    folder.report.mkdir(parents=True, exist_ok=True)
    picture, file = (folder.report / f"tsne{suffix}" for suffix in (".png", ".csv"))
    table = tsne_table(alignment)
    with SCREEN.applied():
        tsne_figure(alignment, table).savefig(picture)
    table.to_csv(file, index=False)
    for written in (picture, file):
        folder.store.keep(written)
    return [picture, file]


def tsne_table(alignment: Alignment) -> pd.DataFrame:
    """A row for each clip, stream and panel: place, and the stream's recall@1 in the panel.

    Each panel has a t-SNE of its own: an angle between the embeddings of two networks means
    nothing, and in one picture the two would merely lie apart.
    """
    rows = []
    for panel, streams in alignment.panels.items():
        places = _tsne(np.concatenate(list(streams.values()))).reshape(len(streams), -1, 2)
        for stream, points in zip(streams, places, strict=True):
            columns = {"clip": alignment.clips, "stream": stream, "panel": panel}
            rows.append(pd.DataFrame({**columns, "x": points[:, 0], "y": points[:, 1]}))
    recalls = alignment.recalls.reset_index().melt("stream", None, "panel", "recall_at_1")
    return pd.concat(rows).merge(recalls, "left", ["stream", "panel"])


def tsne_figure(alignment: Alignment, table: pd.DataFrame) -> Figure:
    """Embeddings before and after, side by side, colored by stream.

    Args:
        alignment: The clips.
        table: Their places, of :func:`tsne_table`.
    """
    figure = Figure(figsize=(9.6, 5.2), layout="constrained")
    panels = figure.subplots(1, len(alignment.panels))
    for axes, name in zip(panels, alignment.panels, strict=True):
        _draw(axes, table[table["panel"] == name])
        recalls = ", ".join(f"{s} {r:.3f}" for s, r in alignment.recalls[name].items())
        anchor = next(iter(alignment.panels[name]))
        axes.set_title(f"{name}\nrecall@1 of the {anchor} from {recalls}")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, frameon=False, ncols=len(labels), loc="outside lower center",
        markerscale=2,
    )  # fmt: skip
    chance = f"recall@1 by chance {1 / len(alignment.clips):.3f}"
    figure.suptitle(f"{escape(alignment.title)}; {len(alignment.clips)} test clips, {chance}")
    return figure


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    for color, (stream, points) in zip(COLORS, rows.groupby("stream", sort=False), strict=False):
        axes.scatter(points["x"], points["y"], s=9, color=color, label=str(stream), linewidths=0)
    axes.set(xticks=[], yticks=[])


def _tsne(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Places ``[N, 2]`` of embeddings ``[N, D]``, by their cosine distances.

    A single thread makes the same picture on any machine, and is faster for so few points.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", random_state=0)
    with threadpool_limits(1):
        places: NDArray[np.float32] = tsne.fit_transform(_directions(embeddings))
    return places


def _recalls(streams: Embeddings) -> dict[str, float]:
    anchors, *others = (_directions(own) for own in streams.values())
    own = np.arange(len(anchors))
    nearest = [(other @ anchors.T).argmax(1) for other in others]
    names = list(streams)[1:]
    return {s: float((found == own).mean()) for s, found in zip(names, nearest, strict=True)}


def _directions(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions: NDArray[np.float32] = embeddings / np.maximum(lengths, np.finfo(np.float32).tiny)
    return directions
