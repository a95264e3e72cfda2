"""The selection that learns, together with the task, which tokens to send.

Shapes: ``B`` clips, ``L`` tokens of a clip, ``s`` tokens that are sent, ``D`` features of a token.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .frozen import highest


class TokenScorer(nn.Module):
    """Scores each token linearly and keeps the s highest, in the encoder's order.

    A kept token is multiplied by the sigmoid of its score (as in Graph U-Nets' pooling), so that
    the losses reach the scorer only through the tokens that are sent.

    Args:
        width: Features of a token, D; they are normalised before they are scored.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)

    def forward(self, tokens: Tensor, count: int) -> Tensor:
        """The ``count`` kept tokens ``[B, s, D]`` of ``[B, L, D]``."""
        scores = self.score(F.layer_norm(tokens, tokens.shape[-1:])).squeeze(-1)
        kept = highest(scores.detach(), count)
        gates = scores.gather(1, kept).sigmoid().unsqueeze(-1)
        places = kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        sent: Tensor = tokens.gather(1, places) * gates
        return sent
