"""Ray-traced sites: Sionna RT scenes, traced once and stored as a trace."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from .trace import Trace, read_trace

logger = logging.getLogger(__name__)

STATIONS_M: dict[str, tuple[float, float, float]] = {
    "munich": (8.5, 21.0, 27.0),
    "etoile": (0.0, 0.0, 40.0),
    "florence": (0.0, 0.0, 40.0),
    "san_francisco": (0.0, 0.0, 60.0),
}
"""Where the base station stands by default in Sionna's scenes."""
USER_HEIGHT_M = 1.5
_BATCH = 10
_DRAWING = "disc"
"""How places are drawn.

It is part of a stored trace's name, so that no trace with places drawn differently is used.
"""
MIN_LLVM = 16
LLVM_REMEDY = "install libllvm19 (Debian, Ubuntu) or point DRJIT_LIBLLVM_PATH to libLLVM.so"


@dataclass(frozen=True)
class Survey:
    """What is traced: users at random places around a base station in a scene.

    Attributes:
        scene: One of :data:`STATIONS_M`, or an ``.xml`` file.
        station_m: Place of the base station.
        radius_m: Largest distance of a user from the base station on the ground.
        positions: Number of places to keep, each with at least one path. If too few are found in 20
            times as many draws, there are fewer.
        max_depth: Largest number of reflections of a path.
        carrier_hz: Carrier frequency.
        antennas: Number of the base station's antennas, in a row half a wavelength apart.
        seed: Seed of the places.
    """

    scene: str
    station_m: tuple[float, float, float]
    radius_m: float
    positions: int
    max_depth: int
    carrier_hz: float
    antennas: int
    seed: int

    def file(self) -> Path:
        """The file that the survey's trace is stored in."""
        described = {**asdict(self), "drawing": _DRAWING}
        if self.scene not in STATIONS_M:
            content = hashlib.sha256()
            for file in scene_files(Path(self.scene)):
                content.update(file.read_bytes())
            described["content"] = content.hexdigest()
        key = hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]
        return (
            Path.home() / ".cache" / "tokcom" / "traces" / f"{Path(self.scene).stem}-{key}.parquet"
        )


def scene_files(scene: Path) -> tuple[Path, ...]:
    """The ``.xml`` file of a scene, and the meshes and textures that it names and that exist."""
    try:
        named = [n.get("value", "") for n in ElementTree.parse(scene).iter("string")]
    except (OSError, ElementTree.ParseError):
        named = []  # what loads the scene says so
    parts = (scene.parent / name for name in named if name)
    return (scene, *sorted({part for part in parts if part.is_file()}))


def survey_trace(survey: Survey) -> Trace:
    """The trace of a survey, read from its file; if there is none, it is traced and stored first.

    Raises:
        ValueError: if the scene or LLVM is missing, or no place on the site has a path.
    """
    check_survey(survey)
    file = survey.file()
    if not file.exists():
        logger.info("tracing %d places in %s", survey.positions, survey.scene)
        _trace(survey).write(file)
    return read_trace(file)


def check_survey(survey: Survey) -> None:
    """Raises ValueError if the scene is missing, or its trace neither exists nor can be made."""
    if survey.scene not in STATIONS_M and not Path(survey.scene).is_file():
        raise ValueError(
            f"no scene {survey.scene}; give an .xml file or one of {', '.join(STATIONS_M)}"
        )
    if not survey.file().exists() and not tracing_is_possible():
        raise ValueError(f"ray tracing on a CPU needs LLVM {MIN_LLVM} or newer; {LLVM_REMEDY}")


def tracing_is_possible() -> bool:
    """Whether there is a GPU, or a new enough LLVM, to trace with."""
    return tracing_backend() is not None


def tracing_backend() -> str | None:
    """What rays are traced with: ``CUDA``, or for instance ``LLVM 19.1.7``; None if by nothing.

    Dr.Jit has the CUDA backend only where it could open a GPU. But it accepts any LLVM, and one
    that is too old aborts the whole process as soon as it compiles.
    """
    try:
        import drjit

        if drjit.has_backend(drjit.JitBackend.CUDA):
            return "CUDA"
        if not drjit.has_backend(drjit.JitBackend.LLVM):
            return None
        version = drjit.detail.llvm_version()
    except (ImportError, RuntimeError):
        return None
    return f"LLVM {'.'.join(map(str, version))}" if version[0] >= MIN_LLVM else None


def _trace(survey: Survey) -> Trace:
    try:
        from sionna import rt

        named = survey.scene in STATIONS_M
        scene = rt.load_scene(getattr(rt.scene, survey.scene) if named else survey.scene)
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"scene {survey.scene} cannot be loaded: {error}") from None
    scene.frequency = survey.carrier_hz
    scene.tx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.rx_array = rt.PlanarArray(
        num_rows=1, num_cols=survey.antennas, pattern="iso", polarization="V"
    )
    scene.add(rt.Receiver("station", position=list(survey.station_m)))
    rng = np.random.default_rng(survey.seed)
    batches: list[tuple[NDArray[np.generic], ...]] = []
    kept = 0
    for _ in range(max(1, 20 * survey.positions // _BATCH)):
        batches.append(_solve(scene, draw_places(rng, survey, _BATCH), survey))
        kept += len(batches[-1][0])
        if kept >= survey.positions:
            break
    if not kept:
        raise ValueError(f"no place within {survey.radius_m:g} m of the station has a path to it")
    if kept < survey.positions:
        logger.warning(
            "only %d of %d places within %g m of the station have a path to it",
            kept, survey.positions, survey.radius_m,
        )  # fmt: skip
    return _collect(batches, survey)


def draw_places(rng: np.random.Generator, survey: Survey, count: int) -> NDArray[np.float64]:
    """Places ``[count, 3]`` (m), uniform over the disc of a survey's radius."""
    distance_m = survey.radius_m * np.sqrt(rng.random(count))
    azimuth = rng.uniform(0, 2 * np.pi, count)
    x_m, y_m, _ = survey.station_m
    east_m, north_m = distance_m * np.cos(azimuth), distance_m * np.sin(azimuth)
    return np.stack([x_m + east_m, y_m + north_m, np.full(count, USER_HEIGHT_M)], axis=1)


def _solve(
    scene: object, places: NDArray[np.float64], survey: Survey
) -> tuple[NDArray[np.generic], ...]:
    """Gains ``[R, M, P]``, delays, departure directions and coordinates of places with a path."""
    import drjit
    from sionna import rt

    for i, place in enumerate(places):
        scene.add(rt.Transmitter(f"user{i}", position=place.tolist()))  # type: ignore[attr-defined]
    paths = rt.PathSolver()(
        scene,
        max_depth=survey.max_depth,
        samples_per_src=100_000,
        synthetic_array=True,
        seed=survey.seed + 1,
    )
    gains, delays = paths.cir(normalize_delays=False, out_type="numpy")
    gains = np.moveaxis(gains[0, :, :, 0, :, 0], 0, 1)
    theta, phi = np.asarray(paths.theta_t)[0], np.asarray(paths.phi_t)[0]
    directions = np.stack(
        [np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=-1
    )
    for i in range(len(places)):
        scene.remove(f"user{i}")  # type: ignore[attr-defined]
    del paths
    drjit.flush_malloc_cache()  # which would otherwise keep gigabytes
    reached = (np.abs(gains) > 0).any((1, 2))
    return gains[reached], delays[0][reached], directions[reached], places[reached]


def _collect(batches: Sequence[tuple[NDArray[np.generic], ...]], survey: Survey) -> Trace:
    """Joins all batches into one trace.

    Users with fewer paths are padded with zeros. Delays count from the user's first path.
    """
    max_paths = max(gains.shape[2] for gains, *_ in batches)

    def padded(values: NDArray[np.generic], axis: int) -> NDArray[np.generic]:
        width = [(0, 0)] * values.ndim
        width[axis] = (0, max_paths - values.shape[axis])
        return np.pad(values, width)

    gains = np.concatenate([padded(g, 2) for g, *_ in batches])[: survey.positions]
    delays = np.concatenate([padded(d, 1) for _, d, *_ in batches])[: survey.positions]
    directions = np.concatenate([padded(k, 1) for _, _, k, _ in batches])[: survey.positions]
    places = np.concatenate([p for *_, p in batches])[: survey.positions]
    exists = (np.abs(gains) > 0).any(1)
    first = np.where(exists, delays, np.inf).min(1, keepdims=True)
    return Trace(
        gains[..., None].astype(np.complex64),
        np.where(exists, delays - first, 0.0).astype(np.float32),
        ("",) * len(gains),
        sampling_hz=0.0,
        carrier_hz=survey.carrier_hz,
        physical=True,
        places_m=places.astype(np.float32),
        directions=directions.astype(np.float32),
    )
