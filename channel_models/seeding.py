"""Seeds by role, and the seeding of Sionna's process-wide generators."""

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
    """The seed of one attempt in an interval.

    The first attempt has the interval's own seed, every later one another.

    Args:
        seed: Seed of the interval.
        attempt: See :class:`~channel_models.frame.Frame`.
    """
    return spawn_seed(seed, "transmission", attempt) if attempt else seed


@contextmanager
def sionna_seeded(seed: int) -> Iterator[None]:
    """Seeds Sionna's generators; torch's own, which Sionna seeds too, are restored on leaving."""
    with kept_generators():
        from .sionna_api import config

        config.seed = seed
        yield
