"""Time and memory of TaiChi's projectors, forward and backward, as ratios to the MLP's::

    python benchmarks/projectors.py [--tokens 576] [--widths 1024 2048] [--device cpu]

The MLP has as many parameters as the KAN. Memory is what autograd keeps for the backward pass.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch import nn

from tokcom_core.devices import pick_device
from tokcom_core.systems.taichi.projectors import ProjectorConfig, build_projector

KINDS = ("mlp", "kan", "ldp")


def saved_mb(projector: nn.Module, tokens: torch.Tensor) -> float:
    """Megabytes of the tensors that the backward pass needs, without parameters."""
    own = {p.untyped_storage().data_ptr() for p in projector.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = projector(tokens)
    assert alive.requires_grad
    return sum(kept.values()) / 1e6


def seconds(projector: nn.Module, tokens: torch.Tensor) -> tuple[float, float]:
    """Seconds of one forward and of one backward pass."""
    start = time.perf_counter()
    loss = projector(tokens).float().square().mean()
    loss.item()  # waits for a GPU
    between = time.perf_counter()
    loss.backward()
    next(projector.parameters()).grad.sum().item()
    return between - start, time.perf_counter() - between


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokens", type=int, default=576)
    parser.add_argument("--widths", type=int, nargs=2, default=[1024, 2048], metavar=("IN", "OUT"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    device = pick_device(options.device)
    tokens = torch.randn(1, options.tokens, options.widths[0], device=device, requires_grad=True)
    projectors = {
        kind: build_projector(ProjectorConfig(kind=kind), *options.widths).to(device)
        for kind in KINDS
    }
    times: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for repeat in range(options.repeats + 1):  # by turns, so that a busy machine is fair to all
        for kind, projector in projectors.items():
            taken = seconds(projector, tokens)
            if repeat:  # the first is to warm up
                times[kind].append(taken)
    print(
        "| projector | parameters | forward ms | x MLP | backward ms | x MLP | saved MB | x MLP |"
    )
    print("|---|---|---|---|---|---|---|---|")
    usual: list[float] = []
    for kind, projector in projectors.items():
        parameters = sum(p.numel() for p in projector.parameters())
        forward, backward = (1e3 * median(part) for part in zip(*times[kind], strict=True))
        measured = [forward, backward, saved_mb(projector, tokens)]
        usual = usual or measured
        cells = [f"{m:.1f} | {m / u:.2f}" for m, u in zip(measured, usual, strict=True)]
        print(f"| {kind} | {parameters} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
