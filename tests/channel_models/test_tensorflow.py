"""A user's own TensorFlow function, bridged with DLPack."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from channel_models import Air, named_air
from channel_models.testing import LINK, NormalisedAirContract, frame


def awgn_in_tensorflow(symbols: Any, n0: Any, seed: int) -> Any:
    """A channel of a user's own."""
    import tensorflow as tf

    noise = tf.random.stateless_normal([2, *symbols.shape], seed=[seed, 7]) * tf.sqrt(n0 / 2)
    return symbols + tf.complex(noise[0], noise[1])


def clipping_in_tensorflow(symbols: Any, n0: Any, seed: int) -> Any:
    """A nonlinear one: soft limiting of the amplitude."""
    import tensorflow as tf

    amplitude = tf.abs(symbols)
    return symbols / tf.cast(tf.sqrt(1 + amplitude**2), symbols.dtype)


class TestTensorflowFunction(NormalisedAirContract):
    fading = False

    @pytest.fixture(autouse=True)
    def _has_tensorflow(self) -> None:
        pytest.importorskip("tensorflow", reason='needs pip install "tokcom[tensorflow]"')

    def build(self, snr_db: float) -> Air:
        name = f"{__name__}:awgn_in_tensorflow"
        return named_air("tensorflow", function=name).build(LINK, snr_db)


def test_gradients_through_tensorflow_are_torchs() -> None:
    pytest.importorskip("tensorflow", reason='needs pip install "tokcom[tensorflow]"')
    sent = frame("a", requires_grad=True)
    name = f"{__name__}:clipping_in_tensorflow"
    (got,) = named_air("tensorflow", function=name).build(LINK, 10.0).transmit([sent], seed=1)
    weights = torch.randn(sent.symbols.shape, dtype=torch.complex64)
    (got.symbols * weights).real.sum().backward()
    twin = sent.symbols.detach().clone().requires_grad_()
    clipped = twin / (1 + twin.abs().square()).sqrt()
    expected = clipped * sent.scale.detach()[:, None] * sent.valid
    torch.testing.assert_close(got.symbols, expected, rtol=1e-4, atol=1e-5)
    (expected * weights).real.sum().backward()
    assert sent.symbols.grad is not None
    assert twin.grad is not None
    torch.testing.assert_close(sent.symbols.grad, twin.grad, rtol=1e-3, atol=1e-4)


def test_what_is_not_a_function_is_refused() -> None:
    pytest.importorskip("tensorflow", reason='needs pip install "tokcom[tensorflow]"')
    for name in ("nowhere:f", "math", "math:nothing"):
        with pytest.raises(ValueError, match=r"give package.module:name"):
            named_air("tensorflow", function=name).build(LINK, 5.0)
