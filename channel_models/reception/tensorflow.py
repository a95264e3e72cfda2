"""A TensorFlow channel of a user's own, symbols to symbols, bridged to torch with DLPack.

Needs TensorFlow in this process: ``pip install "tokcom[tensorflow]"``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import Frame, Members
from ..loading import load_object
from ..numerology import Link
from ..power import to_db

TensorflowChannel = Callable[[Any, Any, int], Any]
"""Takes complex symbols ``[batch, symbols]``, N0 and a seed; returns the received symbols."""

_NO_TENSORFLOW = 'air tensorflow needs TensorFlow in this process; pip install "tokcom[tensorflow]"'


class _Bridge(torch.autograd.Function):
    """Runs a channel in TensorFlow under a gradient tape, and goes back through the tape.

    Real and imaginary parts are the last axis of the torch tensors.
    """

    @staticmethod
    def forward(
        ctx: Any, parts: Tensor, channel: TensorflowChannel, n0: float, seed: int
    ) -> Tensor:
        import tensorflow as tf

        sent = tf.experimental.dlpack.from_dlpack(parts.detach().contiguous().__dlpack__())
        with tf.GradientTape() as tape:
            tape.watch(sent)
            received = channel(tf.complex(sent[..., 0], sent[..., 1]), tf.constant(n0), seed)
            out = tf.stack([tf.math.real(received), tf.math.imag(received)], axis=-1)
        ctx.tape, ctx.sent, ctx.out = tape, sent, out
        return torch.utils.dlpack.from_dlpack(tf.experimental.dlpack.to_dlpack(out))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None, None]:
        import tensorflow as tf

        outer = gradients[0].detach().contiguous().__dlpack__()
        inner = ctx.tape.gradient(
            ctx.out, ctx.sent, output_gradients=tf.experimental.dlpack.from_dlpack(outer)
        )
        if inner is None:
            return None, None, None, None
        inner = tf.experimental.dlpack.to_dlpack(tf.convert_to_tensor(inner))
        return torch.utils.dlpack.from_dlpack(inner), None, None, None


class TensorflowAir(Air):
    """Sends every frame through a TensorFlow function; gradients flow both ways.

    The function also stands for the receiver: what it returns is taken as the equalised symbols,
    with an error variance of N0.

    Args:
        link: The band and how it is shared.
        noise_power: N0, handed to the function.
        channel: See :data:`TensorflowChannel`; may be a ``tf.function``.
    """

    def __init__(self, link: Link, noise_power: float, channel: TensorflowChannel) -> None:
        super().__init__(link)
        self._noise_power = noise_power
        self._channel = channel

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        return [self._one(frame, Air.seed_of(frame, seed)) for frame in frames]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        """The SNR that was asked for, as nothing is known of the function."""
        return torch.ones(len(members.users)) / self._noise_power

    def _one(self, frame: Frame, seed: int) -> ChannelOutput:
        parts = torch.view_as_real(frame.symbols)
        received: Tensor = _Bridge.apply(  # type: ignore[no-untyped-call]
            parts, self._channel, self._noise_power, seed % 2**31
        )
        if received.shape != parts.shape:
            raise ValueError(
                f"the TensorFlow channel returned {list(received.shape[:-1])} symbols for "
                f"{list(parts.shape[:-1])}; it should keep their shape"
            )
        n0 = torch.full((1, 1), self._noise_power, device=frame.symbols.device)
        snr_db = to_db(torch.ones_like(frame.scale) / self._noise_power)
        symbols = torch.view_as_complex(received.contiguous()) * frame.scale[:, None]
        return ChannelOutput(symbols, n0, snr_db, biased=False)


def load_channel(name: str) -> TensorflowChannel:
    """Loads a function by ``package.module:function``.

    Raises:
        ValueError: if TensorFlow or the function cannot be imported.
    """
    try:
        importlib.import_module("tensorflow")
    except ImportError:
        raise ValueError(_NO_TENSORFLOW) from None
    channel: TensorflowChannel = load_object(name)
    return channel


def require_tensorflow() -> None:
    """Raises ValueError if TensorFlow is not installed; does not import it."""
    if find_spec("tensorflow") is None:
        raise ValueError(_NO_TENSORFLOW)
