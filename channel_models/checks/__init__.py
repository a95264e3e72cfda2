"""Physics checks: what the airs do, measured against closed forms.

Every tolerance is :data:`~.check.SIGMAS` standard errors of the measurement, or the critical value
of the Kolmogorov-Smirnov statistic at the same improbability; none is chosen by hand.
"""

from collections.abc import Callable, Iterator

from .cells import cell, path_gain
from .check import Check
from .coding import ldpc_on_awgn, phy_abstraction
from .fading import amplitudes, doppler, tdl_a_taps
from .links import (
    ergodic_capacity,
    multiuser_mimo,
    qpsk_on_awgn,
    qpsk_on_rayleigh,
    receive_diversity,
)

__all__ = ["CHECKS", "Check", "run_checks"]

CHECKS: dict[str, Callable[[], Iterator[Check]]] = {
    "qpsk on awgn": qpsk_on_awgn,
    "qpsk on rayleigh": qpsk_on_rayleigh,
    "receive diversity": receive_diversity,
    "ldpc on awgn": ldpc_on_awgn,
    "tdl-a taps": tdl_a_taps,
    "doppler": doppler,
    "amplitudes": amplitudes,
    "ergodic capacity": ergodic_capacity,
    "mu-mimo": multiuser_mimo,
    "path gain": path_gain,
    "cell": cell,
    "phy abstraction": phy_abstraction,
}
"""Every check by its subject."""


def run_checks(subject: str = "") -> Iterator[Check]:
    """Every check whose subject begins with ``subject``, as they are done."""
    for name, check in CHECKS.items():
        if name.startswith(subject):
            yield from check()
