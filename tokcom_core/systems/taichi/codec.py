"""Channel encoder and decoder, eqs. (13) to (15).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token, ``R`` complex symbols of a token,
``N = S R`` symbols. Not the encoder but the devices scale each sample to unit power. Coded states
arrive at that power by default, see :attr:`CodecConfig.sends_scale`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..tokens import by_token, pack, unpack
from .config import CodecConfig

_MIN_POWER = 1e-12
_MIN_NOISE = 1e-3
"""Least error variance that the decoder sees, 3 bels, so that it is finite without noise, too."""


class ChannelEncoder(nn.Module):
    """Eq. (13): ``Y = C_beta(Z)``, two layers; without a codec, two features make one symbol."""

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.symbols_per_token = symbols_per_token(config, width)
        self.layers = (
            nn.Identity()
            if config.symbols_per_token is None
            else _two_layers(width, config.hidden, 2 * self.symbols_per_token)
        )

    def forward(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols and which are valid, ``[B, N]`` each, of states ``[B, S, D]``, ``[B, S]``."""
        return pack(self.layers(states.float()), valid)


class ChannelDecoder(nn.Module):
    """The inner function of eq. (15): received symbols back to states, two layers."""

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.symbols_per_token = symbols_per_token(config, width)
        self._sees_snr = config.sees_snr and config.symbols_per_token is not None
        self.layers = (
            nn.Identity()
            if config.symbols_per_token is None
            else _two_layers(2 * self.symbols_per_token + self._sees_snr, config.hidden, width)
        )

    def forward(self, symbols: Tensor, noise_var: Tensor) -> Tensor:
        """Symbols ``[B, N]`` and their error variances ``[B, N]`` to states ``[B, S, D]``.

        With ``sees_snr`` each token also has minus log10 of its mean error variance, in bels.
        """
        reals = unpack(symbols, 2 * self.symbols_per_token)
        if self._sees_snr:
            of_token = noise_var.reshape(*reals.shape[:2], -1).mean(-1, keepdim=True)
            reals = torch.cat([reals, -of_token.clamp(min=_MIN_NOISE).log10()], dim=-1)
        states: Tensor = self.layers(reals)
        return states

    def by_token(self, by_symbol: Tensor) -> Tensor:
        """See :func:`~tokcom_core.systems.tokens.by_token`."""
        return by_token(by_symbol, self.symbols_per_token)


def symbols_per_token(config: CodecConfig, width: int) -> int:
    """Complex symbols of a token, R.

    Raises:
        ValueError: if there is no codec and the features do not pair.
    """
    if config.symbols_per_token is not None:
        return config.symbols_per_token
    if width % 2:
        raise ValueError(
            f"states of {width} features do not pair into complex symbols; set "
            "codec.symbols_per_token"
        )
    return width // 2


def scale_frames(symbols: Tensor, valid: Tensor, first: int, following: int) -> Tensor:
    """Scales each of the frames that a device sends one after the other to unit power.

    Args:
        symbols: Symbols ``[B, N]`` of all frames.
        valid: Which symbols are sent, bool ``[B, N]``.
        first: Number of symbols of the first frame.
        following: Number of symbols of each further one.
    """
    whole, rest = symbols[:, None, :first], symbols[:, first:].unflatten(1, (-1, following))
    marks = valid[:, None, :first], valid[:, first:].unflatten(1, (-1, following))
    scaled = [_scaled(*own).flatten(1) for own in zip((whole, rest), marks, strict=True)]
    return torch.cat(scaled, dim=1)


def _scaled(symbols: Tensor, valid: Tensor) -> Tensor:
    """Symbols ``[B, F, N]`` of F frames at unit mean power over the valid ones."""
    energy = (symbols.real.square() + symbols.imag.square()).where(valid, 0).sum(-1, keepdim=True)
    power = energy / valid.sum(-1, keepdim=True).clamp(min=1)
    return symbols / power.clamp(min=_MIN_POWER).sqrt()


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
