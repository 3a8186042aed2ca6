"""Chooses the replica that takes a call. Pure.

Two rules. `least_loaded` takes the replica with the fewest requests in flight. `by_key` takes the replica that a key
of the prompt's beginning prefers, so that the engine's prefix cache is used. It is rendezvous hashing (Thaler and
Ravishankar, 1998) with bounded loads (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads",
SODA 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from math import ceil

LOAD_FACTOR = 1.25
"""a replica has at most this many times the mean load, rounded up; a key's calls beyond that go to its next replica"""
_WORD = 2**64 - 1


def least_loaded(in_flight: Sequence[int], turn: int) -> int:
    """Return the index with the fewest requests in flight. Ties rotate, so idle replicas share the work.

    Raises:
        ValueError: `in_flight` is empty.
    """
    least = min(in_flight)
    tied = [i for i, count in enumerate(in_flight) if count == least]
    return tied[turn % len(tied)]


def by_key(in_flight: Sequence[int], seeds: Sequence[int], key: int) -> int:
    """Return the index that the key prefers among those below the bound on the load.

    Every process prefers the same replica. A replica that is added or removed changes the preference of its own keys
    only. One is always below the bound, because the bound is above the mean.

    Args:
        in_flight: requests in flight, by replica.
        seeds: see `seed_of`, by replica.
        key: random bits, about as many as a word has.

    Raises:
        ValueError: `in_flight` is empty.
    """
    bound = ceil(LOAD_FACTOR * (sum(in_flight) + 1) / max(1, len(in_flight)))
    free = [i for i, count in enumerate(in_flight) if count < bound]
    # the high bits of the product with a random odd number are a hash: multiplicative hashing, Knuth 6.4
    return max(free, key=lambda i: key * seeds[i] & _WORD)


def seed_of(replica: str) -> int:
    """Return the odd number by which a replica of this name hashes keys. It is the same in every process."""
    return int.from_bytes(blake2b(replica.encode(), digest_size=8).digest()) | 1
