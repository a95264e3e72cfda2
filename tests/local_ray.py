"""Ray on this machine, for a test or a file of tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray


@contextmanager
def local_ray(**options: Any) -> Iterator[None]:
    """A Ray of two CPUs that ends with the block; ``options`` are those of ``ray.init``."""
    common = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
    ray.init(address="local", **{**common, **options})
    try:
        yield
    finally:
        ray.shutdown()
