from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tokcom_core.datasets.samples import read_samples
from tokcom_core.encoders.text import TextEncoder
from tokcom_core.features import open_features
from tokcom_core.systems.mlms import Mlms
from tokcom_core.systems.mlms.transceiver import TokenReceiver, pool
from tokcom_core.systems.mlms.transmitter import MediaTransmitter, TextTransmitter
from tokcom_core.systems.taichi.codec import ChannelDecoder
from tokcom_core.systems.taichi.config import CodecConfig
from tokcom_core.systems.tokens import pack, unpack
from tokcom_core.tasks import Avqa


@pytest.mark.parametrize(("batch", "count", "width"), [(1, 1, 2), (3, 5, 8), (2, 7, 1536)])
def test_unpack_is_the_exact_inverse_of_pack(batch: int, count: int, width: int) -> None:
    tokens = torch.randn(batch, count, width)
    valid = torch.rand(batch, count) > 0.3
    symbols, valid_symbols = pack(tokens, valid)
    assert symbols.shape == (batch, count * width // 2)
    assert symbols.dtype == torch.complex64
    assert torch.equal(unpack(symbols, width), tokens)
    assert torch.equal(valid_symbols.reshape(batch, count, -1).all(-1), valid)


def test_odd_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="take even"):
        pack(torch.zeros(1, 2, 3), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match="whole tokens"):
        unpack(torch.zeros(1, 5, dtype=torch.complex64), 4)


def test_media_are_projected_linearly(tokens: dict[str, dict[str, Path]]) -> None:
    """Eq. (4), on the slid tokens of eq. (3)."""
    transmitter = MediaTransmitter(tokens["audio"], 6, 8, "cpu")
    samples = read_samples(tokens["samples"]["val"]).take([0, 2])
    slid, there = transmitter.read("audio", "val", samples)
    assert torch.equal(slid, open_features(tokens["audio"]["val"]).select(samples.media_id, 6))
    symbols, valid = transmitter("audio", slid, there)
    assert valid.all()
    expected = slid @ transmitter.projection.weight.T + transmitter.projection.bias
    torch.testing.assert_close(unpack(symbols, 8), expected)


def test_text_is_not_projected(tokens: dict[str, dict[str, Path]]) -> None:
    """Its words are the foundation model's own embeddings; what is too long is cut."""
    streams = Mlms(question_tokens=4, caption_tokens=64).streams(Avqa(), {})
    transmitter = TextTransmitter(tokens["text"], streams, "cpu")
    assert not list(transmitter.parameters())
    samples = read_samples(tokens["samples"]["val"]).take([0, 2])
    encoder = TextEncoder("pocket", "cpu")
    for stream, longest in (("question", 4), ("caption", 64)):
        symbols, valid = transmitter(stream, *transmitter.read(stream, "val", samples))
        sent = unpack(symbols, encoder.width)
        marks = valid[:, :: encoder.width // 2]
        for text, own, mark in zip(samples[stream], sent, marks, strict=True):
            ids = encoder.ids(text)[:longest]
            assert mark.sum() == len(ids)
            assert torch.equal(own[mark], encoder(torch.tensor(ids)))


def test_receiver_is_two_layers_with_a_relu_and_rescales_linearly() -> None:
    receiver = TokenReceiver(8, hidden_width=16)
    symbols = torch.randn(2, 12, dtype=torch.complex64)
    noise_var = torch.zeros(symbols.shape)
    before = receiver(symbols, noise_var)
    hidden = torch.relu(receiver.inner(unpack(symbols, 8)))
    torch.testing.assert_close(before, receiver.outer(hidden))
    receiver.rescale(0.25)
    torch.testing.assert_close(receiver(symbols, noise_var), 0.25 * before)


def test_a_receiver_that_sees_noise_has_each_tokens_mean_as_one_more_input() -> None:
    receiver = TokenReceiver(4, 8, sees_noise=True)
    seen: list[Tensor] = []
    receiver.inner.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    noise_var = torch.tensor([[0.1, 0.3, 1.0, 3.0]])
    receiver(torch.zeros(1, 4, dtype=torch.complex64), noise_var)
    torch.testing.assert_close(seen[0][0, :, 4], torch.tensor([0.2, 2.0]))
    assert not seen[0][0, :, :4].any()


def test_a_channel_decoder_sees_each_tokens_snr() -> None:
    """Eq. (15): log10 of the SNR, of the mean noise variance of a token; finite without noise."""
    decoder = ChannelDecoder(CodecConfig(symbols_per_token=2), 6)
    decoder.layers = nn.Identity()
    symbols = torch.zeros(1, 4, dtype=torch.complex64)
    seen = decoder(symbols, torch.tensor([[0.05, 0.15, 10.0, 10.0]]))
    torch.testing.assert_close(seen[0, :, -1], torch.tensor([1.0, -1.0]))
    assert decoder(symbols, torch.zeros(1, 4)).isfinite().all()


def test_pooling() -> None:
    tokens = torch.randn(2, 4, 3)
    valid = torch.tensor([[True, True, False, False], [True] * 4])
    mean = pool(tokens, valid, "mean")
    torch.testing.assert_close(mean[0], tokens[0, :2].mean(0))
    torch.testing.assert_close(mean[1], tokens[1].mean(0))
    assert torch.equal(pool(tokens, valid, "cls"), tokens[:, 0])
    for how in ("cls+distillation", "first_two"):
        torch.testing.assert_close(pool(tokens, valid, how), tokens[:, :2].mean(1))
