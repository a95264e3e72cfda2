"""Million complex symbols/s of OFDM over HermesPy's TDL-A channel; run by ``run.sh``.

12 OFDM symbols at a time are modulated to samples, propagated over a realisation of HermesPy's
channel, and demodulated.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402
from hermespy.channel import TDL, TDLType  # noqa: E402
from hermespy.core import Signal  # noqa: E402
from hermespy.simulation import SimulatedDevice  # noqa: E402

SUBCARRIERS, SPACING_HZ, SYMBOLS, PREFIX = 1020, 30e3, 12, 72
BATCH = 2

rate_hz = 1024 * SPACING_HZ
channel = TDL(TDLType.A, rms_delay=1e-7, seed=1)
transmitter = SimulatedDevice(carrier_frequency=3.5e9, bandwidth=rate_hz)
receiver = SimulatedDevice(carrier_frequency=3.5e9, bandwidth=rate_hz)
rng = np.random.default_rng(1)


def transmission() -> None:
    grid = np.zeros((SYMBOLS, 1024), dtype=complex)
    grid[:, 2:1022] = rng.normal(size=(SYMBOLS, 1020)) + 1j * rng.normal(size=(SYMBOLS, 1020))
    samples = np.fft.ifft(grid, axis=1)
    samples = np.concatenate([samples[:, -PREFIX:], samples], axis=1).reshape(1, -1)
    signal = Signal.Create(samples, rate_hz, 3.5e9)
    realisation = channel.realize().sample(transmitter, receiver)
    received = realisation.propagate(signal).to_interleaved()[:1, : samples.shape[1]]
    np.fft.fft(received.reshape(SYMBOLS, -1)[:, PREFIX:], axis=1)


taken = []
for _ in range(7):
    start = time.perf_counter()
    for _ in range(BATCH):
        transmission()
    taken.append(time.perf_counter() - start)
rate = BATCH * SYMBOLS * SUBCARRIERS / statistics.median(taken[1:]) / 1e6
Path(sys.argv[1]).write_text(json.dumps({"hermespy tdl-a": rate}))
print(f"hermespy tdl-a: {rate:.3f} million symbols/s")
