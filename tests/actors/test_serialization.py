"""Tensors through the object store: the same values, and no copy where they are read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
import torch

from actors.engines.serialization import _as_bytes, register_tensor_serializer
from tests.local_ray import local_ray


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    with local_ray(num_cpus=1):
        register_tensor_serializer()
        yield


@pytest.mark.parametrize(
    "sent",
    [
        torch.randn(3, 4, dtype=torch.complex64),
        torch.randn(3, 4, dtype=torch.complex64).conj(),
        torch.randn(3, 4, dtype=torch.complex64).conj().imag,
        torch.randn(6, 5).T,
        torch.randn(4, dtype=torch.bfloat16),
        torch.tensor([True, False]),
        torch.tensor(3.0, dtype=torch.float64),
        torch.arange(0),
        torch.zeros(4, 0, dtype=torch.complex64),
        torch.ones(1, 1).expand(5, 7),
        torch.rand(1, 3, 1).expand(5, 3, 7),
        torch.ones(1, 1).expand(0, 7),
    ],
)
def test_what_arrives_is_what_was_sent(sent: torch.Tensor) -> None:
    got = ray.get(ray.put({"t": sent}))["t"]
    assert got.dtype == sent.dtype
    assert torch.equal(got, sent)


def test_what_is_repeated_is_sent_once() -> None:
    data, *_ = _as_bytes(torch.ones(1, 3, 1, dtype=torch.bool).expand(50, 3, 70))
    assert data.nbytes == 3


def test_gradients_stay_behind_and_readers_share_memory() -> None:
    ref = ray.put(torch.ones(100_000, requires_grad=True))
    first, second = ray.get(ref), ray.get(ref)
    assert not first.requires_grad
    assert first.data_ptr() == second.data_ptr()
