"""Channel encoder and decoder, eqs. (13) to (15).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token, ``R`` complex symbols of a token,
``N = S R`` symbols. The devices scale each sample to unit power, not the encoder; what is coded
arrives so, see :attr:`CodecConfig.sends_scale`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import CodecConfig

_LEAST_NOISE = 1e-3
"""Noise variance below which an SNR counts as 30 dB, so that no noise is a number, too."""


class ChannelEncoder(nn.Module):
    """Eq. (13): ``Y = C_beta(Z)``, two layers; without a codec two features make one symbol."""

    def __init__(self, config: CodecConfig, width: int) -> None:
        super().__init__()
        self.symbols_per_token = symbols_per_token(config, width)
        self.layers = (
            nn.Identity()
            if config.symbols_per_token is None
            else _two_layers(width, config.hidden, 2 * self.symbols_per_token)
        )

    def forward(self, states: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """States ``[B, S, D]`` and which are valid, ``[B, S]``, to those of symbols, ``[B, N]``."""
        reals = self.layers(states.float())
        pairs = reals.reshape(len(states), -1, 2)
        symbols = torch.view_as_complex(pairs.contiguous())
        return symbols, valid.repeat_interleave(self.symbols_per_token, dim=1)


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
        """Symbols ``[B, N]`` and their noise variances ``[B, N]`` to states ``[B, S, D]``."""
        batch = len(symbols)
        reals = torch.view_as_real(symbols).reshape(batch, -1, 2 * self.symbols_per_token)
        if self._sees_snr:
            by_token = noise_var.reshape(batch, -1, self.symbols_per_token).mean(-1, keepdim=True)
            reals = torch.cat([reals, -by_token.clamp(min=_LEAST_NOISE).log10()], dim=-1)
        states: Tensor = self.layers(reals)
        return states

    def by_token(self, by_symbol: Tensor) -> Tensor:
        """Values by symbol ``[B, N]`` to values by token ``[B, S]``: those of its first symbol."""
        return by_symbol[:, :: self.symbols_per_token]


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


def reconstruction_loss(states: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean squared error of states ``[B, S, D]`` over the valid tokens ``[B, S]``."""
    error = (states - target).square().mean(-1)
    return (error * valid).sum() / valid.sum().clamp(min=1)


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
