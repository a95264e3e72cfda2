"""What a budget buys: airtime of token lengths, deadlines, and SNR under a power mode."""

from __future__ import annotations

import math

from channel_models import Link

from .study import Study, TokenBudget


def interval_ms(link: Link, tokens: dict[str, float], token_width: int) -> float:
    """Airtime of one question: ``tokens`` of ``token_width`` features by device (section 7)."""
    senders = list(tokens)
    uses = [count * token_width / 2 for count in tokens.values()]
    return link.interval_ms(senders, link.overheads(senders, uses, control_bits=0))


def fit(
    link: Link, tokens: TokenBudget, question_tokens: int, token_width: int, deadline_ms: float
) -> TokenBudget:
    """The longest token lengths, in the proportion of ``tokens``, that meet the deadline.

    Raises:
        ValueError: if not even one token of each modality meets it.
    """

    def scaled(percent: int) -> TokenBudget:
        return TokenBudget(
            audio=max(1, tokens.audio * percent // 100),
            vision=max(1, tokens.vision * percent // 100),
        )

    for percent in range(100, -1, -1):
        candidate = scaled(percent)
        needed = interval_ms(
            link,
            {"vision": candidate.vision, "audio": candidate.audio, "text": question_tokens},
            token_width,
        )
        if needed <= deadline_ms:
            return candidate
    raise ValueError(
        f"deadline_ms {deadline_ms:g} is too short: one token of each modality and a question of "
        f"{question_tokens} tokens take {needed:.3g} ms at {link.bandwidth_hz:g} Hz"
    )


def snr_at_bandwidth(study: Study, snr_db: float, bandwidth_hz: float) -> float:
    """``fixed_power`` spreads the same power: 3 dB less SNR for each doubling of bandwidth."""
    if study.power_mode == "fixed_psd":
        return snr_db
    return snr_db - 10 * math.log10(bandwidth_hz / study.reference_bandwidth_hz)
