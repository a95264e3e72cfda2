"""Whether what is installed is what the package needs, and what its extras would add."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from ..plan.loggers import PACKAGES
from .findings import Finding

_PACKAGE = "tokcom"
_ALWAYS_SHOWN = ("torch", "ray", "sionna", "transformers", "peft")
_VIRTUALENV = "virtualenv"
_EXTRAS = (
    ("diffusion", "diffusers", "tokcom draw"),
    ("search", "optuna", "searches by Optuna: tokcom study search --by optuna"),
    ("tsne", "scikit-learn", "tokcom study tsne"),
    ("tensorflow", "tensorflow", "air tensorflow: a TensorFlow function of one's own"),
)
"""Each extra, its package and what that is for."""


def package_findings() -> list[Finding]:
    """Python, and the packages that are needed: the large ones, and those that do not fit."""
    findings = [Finding("Python", platform.python_version())]
    for needed in _requirements():
        if needed.name == _VIRTUALENV:
            continue
        finding = _package(needed, "tokcom does not work", f'pip install "{needed}"', needed=True)
        if finding.cost or needed.name in _ALWAYS_SHOWN:
            findings.append(finding)
    return findings


def optional_findings() -> Iterator[Finding]:
    """The pocket checkpoints, ray tracing, the isolated Sionna 1.x, extras and loggers."""
    yield _pocket_checkpoints()
    yield _ray_tracing()
    yield _isolated_sionna()
    for extra, name, purpose in _EXTRAS:
        known = (wanted for wanted in _requirements(extra) if wanted.name == name)
        remedy = f'pip install "{_PACKAGE}[{extra}]"'
        yield _package(next(known, Requirement(name)), purpose, remedy)
    for logger, package in PACKAGES.items():
        yield _package(Requirement(package), f"loggers: {logger}", f"pip install {package}")


def _package(wanted: Requirement, cost: str, remedy: str, needed: bool = False) -> Finding:
    """The version of a package; with cost and remedy if it is missing or another is wanted."""
    installed = _version(wanted.name)
    if installed is not None and wanted.specifier.contains(installed, prereleases=True):
        return Finding(wanted.name, installed)
    found = "not installed" if installed is None else f"{installed}, not {wanted.specifier}"
    return Finding(wanted.name, found, cost, remedy, needed)


def _requirements(extra: str = "") -> list[Requirement]:
    """What the package requires on this platform, with an extra or without any."""
    every = map(Requirement, requires(_PACKAGE) or ())
    return [each for each in every if each.marker is None or each.marker.evaluate({"extra": extra})]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _pocket_checkpoints() -> Finding:
    from tokcom_core.checkpoints import POCKETS, NamedCheckpoint, pocket_folder
    from tokcom_core.checkpoints.presence import local_folder
    from tokcom_core.zoo.scores import read_scores

    subject, count = "pocket checkpoints", 0
    try:
        for world in POCKETS:
            for kind in read_scores(pocket_folder(world)):
                local_folder(NamedCheckpoint(kind, world))
                count += 1
    except ValueError as error:
        return Finding(
            subject,
            str(error),
            cost="presets, models: pocket, tokcom draw",
            remedy=f"pip install --force-reinstall --no-deps {_PACKAGE}",
            needed=True,
        )
    return Finding(subject, f"{count} in the package")


def _ray_tracing() -> Finding:
    from channel_models.sources.raytraced import LLVM_REMEDY, MIN_LLVM, STATIONS_M, tracing_backend

    backend = tracing_backend()
    if backend is not None:
        return Finding("ray tracing", backend)
    return Finding(
        "ray tracing",
        f"neither a GPU nor LLVM {MIN_LLVM} or newer",
        cost=f"ray-traced airs: {', '.join(STATIONS_M)}, site",
        remedy=LLVM_REMEDY,
    )


def _isolated_sionna() -> Finding:
    """Whether the environment can be made; Ray makes it when one of its airs is first used."""
    subject = "Sionna 1.x, isolated"
    if _version(_VIRTUALENV) is None:
        return Finding(
            subject,
            f"no {_VIRTUALENV} to make it with",
            cost="airs with backend: tensorflow",
            remedy=f"pip install {_VIRTUALENV}",
        )
    return Finding(subject, "made at its first start, from the package index")
