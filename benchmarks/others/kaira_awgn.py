"""Million complex symbols/s of kaira's AWGN channel, one thread; run by ``run.sh``."""

import importlib.util
import json
import statistics
import sys
import time
import types
from pathlib import Path

import torch

# kaira's package imports all of kaira; its channels need torch alone.
package = types.ModuleType("kaira")
package.__path__ = list(importlib.util.find_spec("kaira").submodule_search_locations)
sys.modules["kaira"] = package

from kaira.channels.analog import AWGNChannel  # noqa: E402

torch.set_num_threads(1)
symbols = torch.randn(32, 12_240, dtype=torch.complex64)
channel = AWGNChannel(avg_noise_power=0.1)
taken = []
for _ in range(17):
    start = time.perf_counter()
    channel(symbols)
    taken.append(time.perf_counter() - start)
rate = symbols.numel() / statistics.median(taken[2:]) / 1e6
Path(sys.argv[1]).write_text(json.dumps({"kaira awgn": rate}))
print(f"kaira awgn: {rate:.1f} million symbols/s")
