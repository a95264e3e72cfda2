"""Starts Ray on this machine, or joins a cluster."""

from __future__ import annotations

import logging
import math
import os
import socket
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
from joblib import cpu_count
from ray.exceptions import OutOfMemoryError, RayError

from tokcom_core.devices import pick_device

from ..plan.modules import module_source
from ..plan.study import Study
from ..tables.layout import layout_of

_TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # we handle Ctrl-C: Tune would end its run as if finished
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # we write the tables ourselves
    "TUNE_GLOBAL_CHECKPOINT_S": "inf",  # artifacts and tables say what is done, not Tune's state
    "RAY_AIR_NEW_OUTPUT": "0",
}

_NO_CLUSTER = "no Ray cluster at {!r}; 'ray start --head' makes one"
_NO_TOKEN = (
    "the Ray cluster at {!r} asks for another token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
    "to its own (docs/cluster.md)"
)
_REFUSED = (
    "Ray at {!r} did not start: {}; 'ray stop' ends what is left of an earlier one, and a machine "
    "that is too busy starts it on another try"
)
_CLIENT = (
    "Ray Tune cannot run through Ray Client (ray://); run the command on a node of the cluster "
    "with --address auto, or have 'ray job submit' do so"
)
_NO_MEMORY = (
    "memory ran out, and Ray killed a worker as it started; end other programs or run fewer trials "
    "at once (--set resources.cpu=2), then 'tokcom study resume' goes on"
)
_CONNECT_TIMEOUT_S = 10.0

NODE = "node:"
"""Prefix of the name of a resource that only one node has; the node's address follows."""


@contextmanager
def telling_lack_of_memory() -> Iterator[None]:
    """Raises MemoryError, in one line, where Tune breaks off for want of memory.

    Tune restarts a trial whose worker is killed, unless the worker was only starting.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error.__cause__, OutOfMemoryError):
            raise
        raise MemoryError(_NO_MEMORY) from None


def start_ray(study: Study, address: str | None, modules: Sequence[str] = ()) -> bool:
    """Starts Ray here or joins a cluster, unless Ray already runs; returns whether it did.

    Args:
        study: Study whose trials must find room.
        address: Address of a cluster; by default ``RAY_ADDRESS``, or this machine without it.
        modules: Names of importable modules to ship to the workers.

    Raises:
        ValueError: if a module is not found, there is no cluster at the address, the address is one
            of Ray Client, the cluster asks for another token, this machine has fewer GPUs than a
            trial takes, or the study's device is one that Ray gives to no process.
    """
    check_device(study)
    address = address or os.environ.get("RAY_ADDRESS", "local")
    if address.startswith("ray://") or ray.util.client.ray.is_connected():
        raise ValueError(_CLIENT)
    shipped = _runtime_env(modules)
    os.environ.update(_TUNE_SETTINGS)
    if ray.is_initialized():
        return False
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    cpus = max(cpu_count(), math.ceil(study.resources.cpu))
    own = {"include_dashboard": False, "num_cpus": cpus} if address == "local" else {}
    _check_reachable(address)
    try:
        with nullcontext() if own else _quiet():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=shipped,
                **own,
            )
    except Exception as error:  # a bare one if the machine is too busy for Ray to start in time
        raise ValueError(_refusal(error, address)) from None
    if own:  # a cluster may still start nodes with GPUs
        try:
            check_gpus(study, ray.cluster_resources().get("GPU", 0.0))
        except ValueError:
            ray.shutdown()
            raise
    return True


def check_gpus(study: Study, there: float) -> None:
    """Raises ValueError if a trial with all its devices takes more GPUs than there are."""
    asked = {key: own for key, own in study.resources.gpus(study.engine).items() if own}
    devices = len(layout_of(study).devices) if "device_gpu" in asked else 0
    taken = {key: own * (devices if key == "device_gpu" else 1) for key, own in asked.items()}
    if sum(taken.values()) > there:
        keys = " and ".join(
            f"resources.{key} {own:g}" + (f" of {devices} devices" if key == "device_gpu" else "")
            for key, own in asked.items()
        )
        none = " and ".join(f"resources.{key}: 0" for key in asked)
        raise ValueError(
            f"{keys}, but this machine has {there:g} GPUs; take {none}, or --address of a cluster "
            "that has as many"
        )


def check_device(study: Study) -> None:
    """Raises ValueError for a study's device that Ray gives to no process."""
    if not study.device.startswith("cuda"):
        return
    if pick_device(study.device).index:
        raise ValueError(
            f"device {study.device}: Ray chooses the GPUs of each process, which sees its own "
            "alone; take device: cuda"
        )
    for key, reserved in study.resources.gpus(study.engine).items():
        if not reserved:
            raise ValueError(
                f"device {study.device}, but resources.{key} 0 reserves none; take "
                f"resources.{key}: 1, or device: auto"
            )


def lack_of_room(needed: Mapping[str, float], nodes: Sequence[Mapping[str, Any]]) -> str | None:
    """A warning that a trial waits since no node is large enough for it; None if one is.

    This is no error: a cluster may start nodes when they are asked for.

    Args:
        needed: Resources of a trial, which must all be on one node; a node's own resource among
            them (see :data:`NODE`) asks for that node.
        nodes: The cluster's nodes, as :func:`ray.nodes` returns them.
    """
    for node in nodes:
        there = node["Resources"]
        if node["Alive"] and all(there.get(name, 0.0) >= n for name, n in needed.items()):
            return None
    counts = {name: count for name, count in needed.items() if not name.startswith(NODE)}
    asked = " and ".join(f"{count:g} {name}" for name, count in counts.items())
    if len(counts) < len(needed):
        return (
            f"the node of this command, where the data are, lacks the {asked} that frozen tokens "
            "take; the study waits for them (resources.cpu, resources.gpu)"
        )
    return (
        f"no node of the cluster has the {asked} that a trial takes; the study waits for one "
        "(resources.cpu, resources.gpu)"
    )


def _refusal(error: Exception, address: str) -> str:
    """Reason, in one line, why Ray has not started."""
    if "AuthenticationError" in f"{error!r} {error.__cause__}":
        return _NO_TOKEN.format(address)
    if isinstance(error, ConnectionError | RayError):
        return _NO_CLUSTER.format(address)
    return _REFUSED.format(address, " ".join(str(error).split())[:200])


def _runtime_env(modules: Sequence[str]) -> dict[str, Any]:
    """What ships the modules (single files) and packages of these names to every worker."""
    if not modules:
        return {}
    here = os.getcwd()
    if here not in sys.path:  # the first is the command's own folder, not the user's
        sys.path.insert(0, here)
    return {"py_modules": [str(module_source(name)) for name in modules]}


@contextmanager
def _quiet() -> Iterator[None]:
    """Hides Ray's warnings of each attempt to connect, which bypass Python's streams."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _check_reachable(address: str) -> None:
    """Raises ValueError if nothing listens at an address: Ray itself would retry for minutes."""
    host, _, port = address.rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        raise ValueError(_NO_CLUSTER.format(address)) from None
