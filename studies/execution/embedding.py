"""Embeddings of clips before and after a phase that aligns their streams."""

from __future__ import annotations

import numpy as np
import pandas as pd

from actors import InlineEngine, Network
from tokcom_core.datasets.samples import Samples

from ..figures.tsne import Alignment, Embeddings
from ..plan.cells import Plan
from ..plan.contenders import Contender
from ..plan.specs import PhaseSpec
from ..storage.folder import StudyFolder
from ..tables.layout import layout_of
from .finished import choose_learning_rates
from .networks import NetworkFactory

_BATCH = 64


def embed_clips(folder: StudyFolder, method: str | None, most: int) -> Alignment:
    """Embeddings of test clips by an alignment that a study has finished, without an air.

    Of a method's alignments, the one with the longest tokens and the first seed is taken. No two of
    the clips have the same text of the anchor, since they could not be told apart.

    Args:
        folder: Folder of the study.
        method: Label of a method; the first one that aligns streams by default.
        most: Maximum number of clips.

    Raises:
        ValueError: if no such method aligns streams, its alignment is not finished, or fewer than
            two test clips have all streams.
    """
    study = folder.open()
    plan = Plan(study)
    contender = _aligning(plan, method)
    spec = _finished(plan, contender, folder)
    streams, split = spec.definition.aligned, spec.task.test_split
    networks = NetworkFactory(study, folder, plan.features())
    samples = networks.samples(split)
    by_name = {stream.name: stream for stream in spec.system.streams(spec.task, spec.tokens)}
    rows = _distinct(samples, by_name[streams[0]].text or "media_id")[:most]
    _check_count(len(rows), spec)
    artifact = folder.artifacts.path(spec)

    def embed(network: Network) -> Embeddings:
        found = network.embed(streams, split, rows, _BATCH)
        return {name: own.numpy() for name, own in found.items()}

    with networks.network(spec, InlineEngine()) as network:
        networks.load_start(network, spec)
        before = embed(network)
        network.load(artifact)
        after = embed(network)
    whole = np.isfinite(np.concatenate(list(after.values()), axis=1)).all(1)
    _check_count(int(whole.sum()), spec)
    budgets = [device for device in layout_of(study).swept_devices if device in spec.tokens]
    tokens = "+".join(str(spec.tokens[device]) for device in budgets) or "-"
    return Alignment(
        title=f"{spec.phase} of {contender.label}, {tokens} tokens, seed {spec.seed}",
        artifact=artifact,
        clips=[samples.media_id[row] for row, kept in zip(rows, whole, strict=True) if kept],
        panels={
            name: {stream: own[whole] for stream, own in panel.items()}
            for name, panel in (("before", before), ("after", after))
        },
    )


def _aligning(plan: Plan, method: str | None) -> Contender:
    """The method of this label, or the first one that aligns streams."""
    task = plan.study.task
    methods = {own.label: own for own in plan.contenders if own.reference is None}
    aligning = {
        label: own
        for label, own in methods.items()
        if any(phase.aligned for phase in own.system.phases(task))
    }
    if not aligning:
        raise ValueError("no method of this study has a phase that aligns streams")
    if method is None:
        return next(iter(aligning.values()))
    if method not in aligning:
        known = f"those that have one: {', '.join(aligning)}"
        if method in methods:
            raise ValueError(f"method {method!r} has no phase that aligns streams; {known}")
        raise ValueError(f"no method {method!r} with a phase that aligns streams; {known}")
    return aligning[method]


def _finished(plan: Plan, contender: Contender, folder: StudyFolder) -> PhaseSpec:
    """The finished alignment of a method with the longest tokens, of the first seed."""
    rate = choose_learning_rates(plan, folder).get(contender.label)
    finished = [
        spec
        for cell in plan.cells_of(contender, rate)
        for spec in cell.trained.lineage
        if spec.definition.aligned and folder.has(spec)
    ]
    if not finished:
        raise ValueError(
            f"the alignment of {contender.label} is not finished; 'tokcom study resume' goes on"
        )
    return max(finished, key=lambda spec: sum(spec.tokens.values()))


def _check_count(clips: int, spec: PhaseSpec) -> None:
    if clips < 2:
        needed = ", ".join(spec.definition.aligned)
        raise ValueError(
            f"{clips} different clips of split {spec.task.test_split!r} have {needed}; t-SNE needs "
            "two or more"
        )


def _distinct(samples: Samples, column: str) -> list[int]:
    """Rows of different media with different texts, none of which is empty."""
    texts = pd.Series(samples[column])[~pd.Series(samples.media_id).duplicated()]
    return [int(row) for row in texts[texts != ""].drop_duplicates().index]
