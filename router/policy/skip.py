"""When is the small model's answer worth its price, to look at before the large one is asked? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

LEAST_GAIN = 1e-6


def skip_until(gains: Sequence[float], price: float) -> float:
    """Return up to which threshold on the gain a call goes to the large model at once.

    A cascade with threshold t asks the large model where the gain g that the small one's answer leaves to expect is at
    least t. The threshold is a price, too: so much gain is what the large model's call has to bring. Looking first
    spares that call where g < t, and is then worth t - g; it costs what the small model's call does. So the small
    model is skipped while E[(t - g)+] <= t * price, which is the value of information against its cost (Howard,
    Information Value Theory, IEEE Trans. SSC 2(1), 1966). The left side over t rises with t: one t divides the two.

    Args:
        gains: what the answers of calls like this one leave to expect, sorted, at least one.
        price: of the small model's call, as a share of the large one's.

    Returns:
        The threshold; infinity where looking never pays, minus infinity where it costs nothing.
    """
    if price <= 0:
        return -inf
    below = 0.0
    for count, gain in enumerate(gains, 1):
        below += max(gain, LEAST_GAIN)
        # with the first `count` gains below t, the mean of (t - g)+ is t * count / n - below / n
        spared = count - price * len(gains)
        following = max(gains[count], LEAST_GAIN) if count < len(gains) else inf
        if spared > 0 and below / spared <= following:
            return below / spared
    return inf
