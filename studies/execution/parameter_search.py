"""Searches by Ray Tune for the settings with which a method learns best."""

from __future__ import annotations

import json
import logging
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import ray
import torch
from filelock import FileLock
from ray import tune
from ray.tune import Callback, Result, ResultGrid, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler
from ray.tune.search import BasicVariantGenerator, SearchAlgorithm, Searcher
from rich.console import Console

from actors import MAX_RETRIES, hide_unreserved_gpus
from tokcom_core.devices import gpu_is_lost
from tokcom_core.storage import StorageError, writing

from ..errors import reason_of
from ..plan.artifact_spec import Spec
from ..plan.cells import Plan
from ..plan.modules import modules_of
from ..plan.search import Range, Search, Space, Variant, variant_of
from ..plan.specs import FeaturesSpec
from ..plan.study import Study
from ..storage.artifacts import VALIDATION
from ..storage.folder import StudyFolder
from .cluster import start_ray, telling_lack_of_memory
from .data import preparing_data
from .graph import Milestone, SpecGraph
from .interrupt import Interrupt
from .progress import Part, SpecProgress, StudyProgress
from .reporting import REPORT_EVERY, ignore
from .runner import SpecRunner
from .splits import uploads_files, write_file_bits, write_samples
from .tuning import TuneRun

logger = logging.getLogger(__name__)

_STEP, _LOSS = "step", "loss"
_TRAINED = "trained_steps"
"""Step of a training loss. ASHA compares only these, since validation losses are different."""
_REDUCTION = 3
"""At each rung, ASHA keeps one trial of this many."""


class _StoppedError(BaseException):
    """Tune has stopped a trial, by a SystemExit that the user's own code might also raise."""


def search_settings(
    study: Study,
    search: Search,
    out: str | Path,
    console: Console | None = None,
    address: str | None = None,
) -> pd.DataFrame:
    """Runs a search in the folder ``out``; what earlier runs have trained there is reused.

    Args:
        study: Study with one condition; its first seed counts.
        search: What is searched.
        out: Folder of the search, or a URI.
        console: Console for progress; None shows nothing.
        address: Address of a Ray cluster; None starts Ray on this machine.

    Returns:
        A row for each trial: first those that are done, then stopped ones, then failed ones, each
        by increasing loss. Columns are ``trial``, one for each key that is searched,
        ``tokens_DEVICE`` (what was sent, after a deadline), ``status`` (``done``, ``stopped``
        early, ``failed``), ``step``, ``loss`` (of validation; for a stopped trial that of training,
        over its last steps), ``accuracy`` on the validation split, ``wall_s`` and ``reason``.

    Raises:
        ValueError: for a study or space that cannot be searched, missing data or packages, a
            cluster that cannot be joined, or a folder with another study or another run.
        StorageError: if the disk is full.
    """
    search = search.with_absolute_paths()  # Ray moves trials to folders of their own
    base = search.base(study)
    plan, folder = Plan(base), StudyFolder(out)
    with folder.alone():
        folder.check(base, [*search.variants(base)])
        found = _run_trials(plan, search, folder, console, address)
        table = _table(found, search)
        with folder.write(folder.trials) as partial_file:
            table.to_parquet(partial_file, index=False)
    return table


def _run_trials(
    plan: Plan,
    search: Search,
    folder: StudyFolder,
    console: Console | None,
    address: str | None,
) -> ResultGrid:
    """Begins the search in its folder, makes what trials share, and runs them."""
    base, algorithm, started_ray = plan.study, _algorithm(search), False
    with StudyProgress(console) as progress, Interrupt() as interrupt:
        try:
            with interrupt.deferred():
                started_ray = start_ray(base, address, modules_of(base, *search.variants(base)))
            for air in base.airs:
                air.prepare(base.link_at(base.bandwidth_hz[0]))
            folder.begin(base, [*search.variants(base)])
            with preparing_data(plan, folder, progress) as data:
                data.result()
            shared = _write_shared(plan, search, folder, progress, interrupt)
            with progress.part("trials", search.trials) as part:
                watcher = _Watcher(part, interrupt)
                trial = _trial(base, folder, shared)
                config = _tune_config(base, search, algorithm)
                tuner = _tuner(trial, config, search, folder, watcher)
                with telling_lack_of_memory(), writing(folder.tune):
                    found = tuner.fit()
                interrupt.check()  # Tune may have taken it for the end of its run
            return found
        finally:
            if started_ray:
                ray.shutdown()
            folder.store.remove(folder.tune)


def _write_shared(
    plan: Plan, search: Search, folder: StudyFolder, progress: StudyProgress, interrupt: Interrupt
) -> list[FeaturesSpec]:
    """Writes the samples and frozen tokens that all trials share; returns the specs of the latter.

    Raises:
        ValueError: if tokens of the study itself failed; others fail the trials that need them.
    """
    base, features = plan.study, search.features(plan.study)
    graph = SpecGraph(folder.has, Milestone([], lambda: features))
    TuneRun(base, folder, features, []).run(graph, SpecProgress(progress), interrupt)
    made = [spec for spec in features if spec.key not in graph.failures]
    for needed in plan.features():
        if not any(spec.features.covers(needed.features) for spec in made):
            raise ValueError(f"frozen tokens failed: {next(iter(graph.failures.values()))}")
    write_samples(folder, base, made)
    if any(map(uploads_files, [base, *search.variants(base)])):
        write_file_bits(folder, base)
    return made


def _trial(base: Study, folder: StudyFolder, shared: list[FeaturesSpec]) -> Callable[..., None]:
    """The function that Tune runs for each trial, with the resources that it needs."""
    own = base.resources
    trial = tune.with_parameters(_try, base=base, folder=folder, shared=shared)
    found: Callable[..., None] = tune.with_resources(trial, {"CPU": own.cpu, "GPU": own.gpu})
    return found


def _tune_config(base: Study, search: Search, algorithm: SearchAlgorithm | Searcher) -> TuneConfig:
    return TuneConfig(
        metric=_LOSS,
        mode="min",
        num_samples=search.trials,
        search_alg=algorithm,
        scheduler=_scheduler(base, search),
        reuse_actors=True,
    )


def _tuner(
    trial: Callable[..., None],
    config: TuneConfig,
    search: Search,
    folder: StudyFolder,
    watcher: Callback,
) -> Tuner:
    storage_path, filesystem = folder.store.place(folder.tune)
    return Tuner(
        trial,
        param_space={key: _domain(space) for key, space in search.over.items()},
        tune_config=config,
        run_config=tune.RunConfig(
            storage_path=storage_path,
            storage_filesystem=filesystem,
            verbose=0,
            callbacks=[watcher],
            failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
        ),
    )


def _algorithm(search: Search) -> SearchAlgorithm | Searcher:
    if search.by == "random":
        return BasicVariantGenerator(random_state=search.seed)
    try:
        import optuna
    except ImportError:
        raise ValueError(
            'a search by optuna needs a package that is not installed: pip install "tokcom[search]"'
        ) from None
    from .optuna_search import PrunedOptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return PrunedOptunaSearch(seed=search.seed)


def _scheduler(base: Study, search: Search) -> TrialScheduler:
    """ASHA on the losses that trials report; its first rung is a quarter of the last phase."""
    if not search.stops_early:
        return FIFOScheduler()
    system = base.system(base.methods[0])
    steps = system.phases(base.task)[-1].training.steps
    return ASHAScheduler(
        time_attr=_TRAINED,
        max_t=sys.maxsize,  # trials know their end; each may have steps of its own
        grace_period=max(REPORT_EVERY, steps // 4),
        reduction_factor=_REDUCTION,
    )


def _domain(space: Space) -> Any:
    if not isinstance(space, Range):
        return tune.choice(list(space))
    if space.whole:
        draw = tune.lograndint if space.log else tune.randint
        return draw(int(space.low), int(space.high) + 1)
    return (tune.loguniform if space.log else tune.uniform)(space.low, space.high)


def _try(
    config: dict[str, Any], base: Study, folder: StudyFolder, shared: Sequence[FeaturesSpec]
) -> None:
    """One trial: trains the method with some keys set, and validates it."""
    hide_unreserved_gpus()
    torch.set_num_threads(base.resources.threads)
    try:
        variant = variant_of(base, config)
        measured = _learn(variant, folder, shared)
    except _StoppedError:
        return
    except StorageError:
        raise
    except BaseException as error:  # a setting that fails, or exits, is a row of the table
        logger.exception("failed: %s", config)
        if gpu_is_lost(error):  # Tune begins the trial again in another worker
            raise RuntimeError(reason_of(error)) from error
        tune.report({_STEP: 0, _LOSS: math.inf, "status": "failed", "reason": reason_of(error)})
    else:
        tune.report({**measured, "tokens": variant.tokens, "status": "done"})


def _learn(
    variant: Variant, folder: StudyFolder, shared: Sequence[FeaturesSpec]
) -> dict[str, float]:
    """Trains all phases that are not there yet; returns the step, and what validation measured."""
    validation = variant.validation
    last, loss = validation.trained, validation.trained.system.validation_loss

    def report(measured: dict[str, Any]) -> None:
        if loss in measured:
            step = measured["step"]
            known = {_STEP: step, _LOSS: measured[loss], "tokens": variant.tokens}
            try:
                tune.report({_TRAINED: step, **known})
            except SystemExit:
                raise _StoppedError from None

    features = variant.features_from(shared)
    with closing(SpecRunner(variant.study, folder, features)) as runner:
        for spec in (*features, *last.lineage, validation):
            with _alone(folder, spec):
                if not folder.has(spec):
                    runner.run(spec, report if spec == last else ignore)
    file = folder.artifacts.path(validation) / VALIDATION
    return {_STEP: last.definition.training.steps, **json.loads(file.read_text())}


def _alone(folder: StudyFolder, spec: Spec) -> FileLock:
    """A lock that one trial of this machine holds while it makes what others need as well.

    Trials share phases that do not depend on what is searched. A process that dies releases it.
    """
    locks = folder.tune / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / spec.key)


def _table(found: ResultGrid, search: Search) -> pd.DataFrame:
    rows = [_row(number, result, search) for number, result in enumerate(found)]
    ranks = {"done": 0, "stopped": 1, "failed": 2}
    table = pd.DataFrame(rows)
    table = table.assign(rank=table["status"].map(ranks))
    ranked = table.sort_values(["rank", _LOSS, "trial"], ignore_index=True)
    return ranked.drop(columns="rank")


def _row(number: int, result: Result, search: Search) -> dict[str, Any]:
    """The row of a trial; if its process died, the reason is the last line of Ray's error."""
    last, settings = result.metrics or {}, result.config or {}
    died = str(result.error).strip().splitlines()[-1:] if result.error else []
    return {
        "trial": number,
        **{key: _kept(settings.get(key), space) for key, space in search.over.items()},
        **{f"tokens_{device}": count for device, count in last.get("tokens", {}).items()},
        "status": "failed" if died else last.get("status", "stopped"),
        _STEP: last.get(_STEP, 0),
        _LOSS: last.get(_LOSS, math.nan),
        "accuracy": last.get("accuracy", math.nan),
        "wall_s": last.get("time_total_s", math.nan),
        "reason": "".join(died) or last.get("reason", ""),
    }


def _kept(value: Any, space: Space) -> Any:
    """A value as a column holds it: JSON unless all choices are whole numbers, reals or texts."""
    if isinstance(space, Range) or {type(choice) for choice in space} in ({int}, {float}, {str}):
        return value
    return json.dumps(value)


class _Watcher(Callback):  # type: ignore[misc]
    """Moves the bar with each trial that ends, and lets Ctrl-C end the search."""

    def __init__(self, part: Part, interrupt: Interrupt) -> None:
        self._part = part
        self._interrupt = interrupt

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it to restore its own run, which we never do

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._interrupt.check()

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._part.advance(1)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._part.failed += 1
        self._part.advance(1)
