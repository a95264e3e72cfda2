"""Physics checks: the airs, measured against closed forms, standards and reference results.

Tolerances follow from chance: :data:`~.check.SIGMAS` standard errors of the measurement, or the
Kolmogorov-Smirnov distance and quantiles of the same probability. Checks of coding also allow for
the reference: a BLER that is given with two digits, and tables that are sampled 1.6 dB apart.
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
    """Runs the checks whose subject begins with ``subject``, and yields each when it is done."""
    for name, check in CHECKS.items():
        if name.startswith(subject):
            yield from check()
