"""Seeds by role, and Sionna's process-wide generator kept in bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from .generators import kept_generators


def spawn_seed(seed: int, *role: str | int) -> int:
    """A 63-bit seed for a role; different roles of one seed are independent."""
    digest = hashlib.blake2b(repr((seed, *role)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def attempt_seed(seed: int, attempt: int) -> int:
    """Seed of what is sent in an interval: the interval's own at first, another for each attempt.

    Args:
        seed: of the interval.
        attempt: see :class:`~channel_models.frame.Frame`.
    """
    return spawn_seed(seed, "transmission", attempt) if attempt else seed


@contextmanager
def sionna_seeded(seed: int) -> Iterator[None]:
    """Seeds Sionna's generators, and leaves torch's own, which Sionna seeds too, as they were."""
    with kept_generators():
        from .sionna_api import config

        config.seed = seed
        yield
