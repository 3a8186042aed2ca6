"""The value of asking the small model before the large one, compared with its price. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

MIN_GAIN = 1e-6
"""lower expected gains count as this"""


def skip_threshold(gains: Sequence[float], price: float) -> float:
    """Return the threshold on the gain up to which a call skips the small model.

    A cascade with threshold t asks the large model if the gain g expected after the small model's answer is at least t.
    The threshold is also a price: a call of the large model has to gain at least t. The small model is skipped if
    `value_of_information` is at most 0. E[(t - g)+] / t rises with t, so exactly one t separates the two cases.

    Args:
        gains: expected after the answers to similar calls, ascending, at least one.
        price: of the small model's call, as a share of the large one's.

    Returns:
        The threshold; infinity if asking the small model never pays.
    """
    below = 0.0
    for count, gain in enumerate(gains, 1):
        below += max(gain, MIN_GAIN)
        # with the first `count` gains below t, the mean of (t - g)+ is t * count / n - below / n
        spared = count - price * len(gains)
        following = max(gains[count], MIN_GAIN) if count < len(gains) else inf
        if spared > 0 and below / spared <= following:
            return below / spared
    return inf


def value_of_information(gains: Sequence[float], threshold: float, price: float) -> float:
    """Return the value of asking the small model first, in units of gain: E[(t - g)+] - t * price.

    If g < t, its answer saves the large model's call, which is worth t - g. It costs the small model's call. This is
    the value of information less its cost (Howard, Information Value Theory, IEEE Trans. SSC 2(1), 1966).

    Args:
        gains: expected after the answers to similar calls, at least one.
        threshold: t, at least 0.
        price: of the small model's call, as a share of the large one's.
    """
    spared = [threshold - (gain if gain > MIN_GAIN else MIN_GAIN) for gain in gains if gain < threshold]
    return sum(spared) / len(gains) - threshold * price
