"""Whether what one study needs is on this machine; nothing is downloaded or computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from channel_models import AirBase
from tokcom_core.checkpoints import POCKETS, NamedCheckpoint, is_of_hub
from tokcom_core.checkpoints.presence import local_folder
from tokcom_core.devices import pick_device
from tokcom_core.tasks.folders import SplitCheck, check_splits

from ..execution.cluster import check_device, check_gpus
from ..execution.data import check_data
from ..plan.cells import Plan
from ..plan.loggers import AnyLogger, check_package
from ..plan.modules import module_source, modules_of
from ..plan.study import Study
from .findings import Finding


def study_findings(study: Study) -> list[Finding]:
    """Checkpoints, data, airs, GPUs and loggers of a study, and whether they fit together."""
    checkpoints = [_checkpoint(wanted) for wanted in study.checkpoints]
    findings = [
        *checkpoints,
        *_data(study),
        *(_air(air, study) for air in study.airs),
        _device(study),
        *(_logger(logger) for logger in study.loggers),
    ]
    if any(each.cost for each in checkpoints) or any(each.fails for each in findings):
        return findings  # the rest reads the checkpoints, and may download them
    return [*findings, *_modules(study), _whole(study)]


def _checkpoint(wanted: NamedCheckpoint) -> Finding:
    subject, download = f"{wanted.kind} {wanted.name}", f"hf download {wanted.name}"
    try:
        folder = local_folder(wanted)
    except ValueError as error:
        refused = _refused(subject, error)
        of_folder = refused.remedy or "a folder that save_pretrained of transformers wrote"
        of_hub = f"{download}, where the Hub can be reached"
        return replace(refused, remedy=of_hub if is_of_hub(wanted.name) else of_folder)
    if folder is None:
        return Finding(subject, "on the Hub, not here", "the first run downloads it", download)
    if wanted.name in POCKETS:
        return Finding(subject, "in the package")
    in_cache = "in the Hugging Face cache" if is_of_hub(wanted.name) else "in this folder"
    return Finding(subject, in_cache)


def _data(study: Study) -> Iterator[Finding]:
    if study.data.made is not None:
        yield Finding("data", f"{study.data.made.identity}, made when the study runs")
        return
    root = study.data.folder
    assert root is not None
    if not root.is_dir():
        yield _refused("data", ValueError(f"no folder {root}; --set data.folder=DIR"))
        return
    for split in check_splits(study.task, root, read=False):
        yield _split(split, root)


def _split(split: SplitCheck, root: Path) -> Finding:
    subject = f"data, {split.split}"
    if split.unreadable:
        return _refused(subject, ValueError(split.unreadable))
    of_media = f", {split.ready} of {split.media} media" if split.media else ""
    finding = Finding(subject, f"{split.samples} samples{of_media}")
    if split.complete:
        return finding
    return replace(
        finding,
        cost="samples without their media are left out" if split.ready else "the study fails",
        remedy=f"tokcom data {'prepare' if split.unprepared else 'check'} {root}",
        needed=not split.ready,
    )


def _air(air: AirBase, study: Study) -> Finding:
    subject = f"air {air.label}"
    try:
        for bandwidth_hz in study.bandwidth_hz:
            air.require(study.link_at(bandwidth_hz))
    except ValueError as error:
        return _refused(subject, error)
    return Finding(subject, "can be built")


def _device(study: Study) -> Finding:
    import torch

    resources = study.resources
    try:
        check_device(study)
        check_gpus(study, torch.cuda.device_count())
    except ValueError as error:
        return _refused("device", error)
    device = pick_device(study.torch_device)
    return Finding(
        "device", f"{device}; a trial takes cpu: {resources.cpu:g}, gpu: {resources.gpu:g}"
    )


def _logger(logger: AnyLogger) -> Finding:
    subject = f"logger {logger.name}"
    try:
        check_package(logger)
    except ValueError as error:
        return _refused(subject, error)
    return Finding(subject, f"{logger.package} is installed")


def _modules(study: Study) -> Iterator[Finding]:
    """Modules of the user's own, which Ray ships to its workers."""
    for name in modules_of(study):
        try:
            yield Finding(f"module {name}", str(module_source(name)))
        except ValueError as error:
            yield _refused(f"module {name}", error)


def _whole(study: Study) -> Finding:
    """Whether systems, link and data fit together, as a run finds out before it begins."""
    try:
        plan = Plan(study)
        if study.data.folder is not None:
            check_data(plan, study.data.folder)
    except ValueError as error:
        return _refused("study", error)
    return Finding("study", "its systems, link and data fit together")


def _refused(subject: str, error: ValueError) -> Finding:
    """The finding of an error whose line reads ``what is wrong; how to fix it``."""
    wrong, separator, remedy = str(error).rpartition("; ")
    return Finding(
        subject,
        wrong if separator else remedy,
        cost="the study is refused",
        remedy=remedy if separator else "",
        needed=True,
    )
