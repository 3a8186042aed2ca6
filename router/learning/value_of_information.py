"""When is the small model's answer worth its price, to look at before the large one is asked? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

LEAST_GAIN = 1e-6


def skip_until(gains: Sequence[float], price: float) -> float:
    """Return up to which threshold on the gain a call goes to the large model at once.

    A cascade with threshold t asks the large model where the gain g that the small one's answer leaves to expect is at
    least t. The threshold is a price, too: so much gain is what the large model's call has to bring. So the small
    model is skipped while `value_of_looking` is not above 0. Its part E[(t - g)+] over t rises with t: one t divides
    the two.

    Args:
        gains: what the answers of calls like this one leave to expect, sorted, at least one.
        price: of the small model's call, as a share of the large one's.

    Returns:
        The threshold; infinity where looking never pays.
    """
    below = 0.0
    for count, gain in enumerate(gains, 1):
        below += max(gain, LEAST_GAIN)
        # with the first `count` gains below t, the mean of (t - g)+ is t * count / n - below / n
        spared = count - price * len(gains)
        following = max(gains[count], LEAST_GAIN) if count < len(gains) else inf
        if spared > 0 and below / spared <= following:
            return below / spared
    return inf


def value_of_looking(gains: Sequence[float], threshold: float, price: float) -> float:
    """Return what it is worth to look at the small model's answer first, in units of gain: E[(t - g)+] - t * price.

    Looking spares the large model's call where g < t, and is then worth t - g; it costs what the small model's call
    does. This is the value of information less its cost (Howard, Information Value Theory, IEEE Trans. SSC 2(1), 1966).

    Args:
        gains: what the answers of calls like this one leave to expect, at least one.
        threshold: t, at least 0.
        price: of the small model's call, as a share of the large one's.
    """
    spared = [threshold - (gain if gain > LEAST_GAIN else LEAST_GAIN) for gain in gains if gain < threshold]
    return sum(spared) / len(gains) - threshold * price
