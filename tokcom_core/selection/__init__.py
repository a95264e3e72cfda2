"""Which s of an encoder's L tokens a device sends: the slide of eq. (3), and other selections."""

from .frozen import highest, select
from .learned import TokenScorer
from .names import FrozenSelection, Selection

__all__ = ["FrozenSelection", "Selection", "TokenScorer", "highest", "select"]
