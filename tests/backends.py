"""Machines with other backends of Dr.Jit, which traces rays."""

from __future__ import annotations

import drjit
import pytest


def pretend_llvm(monkeypatch: pytest.MonkeyPatch, version: int, gpu: bool = False) -> None:
    """To be a machine with this version of LLVM, and with or without a GPU."""
    there = {drjit.JitBackend.CUDA: gpu, drjit.JitBackend.LLVM: True}
    monkeypatch.setattr(drjit, "has_backend", there.__getitem__)
    monkeypatch.setattr(drjit.detail, "llvm_version", lambda: (version, 0, 6))
