"""The price of the measured tokens. Pure."""

from __future__ import annotations

H100_HOUR_USD = 2.69
PRICE_SOURCE = "an example, about the rent of one H100 in 2026; set --gpu-hour-usd to what you pay"
FORMULA = "$/M tokens = GPU hour in $ x 1,000,000 / (3600 x output tokens/s x utilisation)"
UTILISATIONS = (1.0, 0.25, 0.05)


def usd_per_mtok(hour_usd: float, tokens_per_s: float, utilisation: float = 1.0) -> float:
    """Return the dollars of a million output tokens.

    `utilisation` is the share of the paid hours in which the GPU is as busy as during the measurement.

    Raises:
        ValueError: speed or utilisation is not above 0, or utilisation is above 1.
    """
    if not tokens_per_s > 0 or not 0 < utilisation <= 1:
        raise ValueError(f"no price at {tokens_per_s} tokens/s and a utilisation of {utilisation}")
    return hour_usd * 1e6 / (3600 * tokens_per_s * utilisation)
