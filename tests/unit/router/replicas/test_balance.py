from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.replicas.balance import LOAD_FACTOR, by_key, least_loaded, seed_of

SEEDS = [seed_of(f"slm/{number}") for number in range(8)]
KEYS = st.integers(0, 2**63 - 1)


@given(st.lists(st.integers(0, 5), min_size=1), st.integers(0, 10**9))
def test_takes_a_least_loaded_one(in_flight: list[int], turn: int) -> None:
    assert in_flight[least_loaded(in_flight, turn)] == min(in_flight)


@given(st.lists(st.integers(0, 3), min_size=1), st.integers(0, 10**6))
def test_equals_take_turns(in_flight: list[int], start: int) -> None:
    equals = in_flight.count(min(in_flight))
    turns = Counter(least_loaded(in_flight, start + turn) for turn in range(3 * equals))
    assert len(turns) == equals
    assert set(turns.values()) == {3}


def test_of_none_there_is_no_choice() -> None:
    with pytest.raises(ValueError, match="empty"):
        least_loaded([], 0)
    with pytest.raises(ValueError, match="empty"):
        by_key([], [], 1)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), KEYS)
def test_a_key_never_takes_a_replica_beyond_the_bound(in_flight: list[int], key: int) -> None:
    chosen = by_key(in_flight, SEEDS[: len(in_flight)], key)
    mean = (sum(in_flight) + 1) / len(in_flight)
    assert in_flight[chosen] + 1 <= ceil(LOAD_FACTOR * mean)


@given(KEYS, st.integers(2, 8))
def test_a_key_has_one_replica_while_load_is_even_and_another_one_when_that_is_full(key: int, replicas: int) -> None:
    seeds = SEEDS[:replicas]
    first = by_key([4] * replicas, seeds, key)
    assert by_key([0] * replicas, seeds, key) == by_key([9] * replicas, seeds, key) == first
    full = [0] * replicas
    full[first] = 5
    second = by_key(full, seeds, key)
    assert second != first
    without = seeds[:first] + seeds[first + 1 :]
    assert seeds[second] == without[by_key([0] * (replicas - 1), without, key)], "as if the first one were not there"


@given(KEYS, st.integers(0, 7))
def test_a_replica_that_goes_moves_its_own_keys_only(key: int, gone: int) -> None:
    before = by_key([0] * 8, SEEDS, key)
    left = SEEDS[:gone] + SEEDS[gone + 1 :]
    after = by_key([0] * 7, left, key)
    assert before == gone or left[after] == SEEDS[before]


@pytest.mark.parametrize("replicas", [2, 3, 8])
def test_keys_are_spread_evenly(replicas: int) -> None:
    chance = random.Random(1)
    counts = Counter(by_key([0] * replicas, SEEDS[:replicas], chance.getrandbits(63)) for _ in range(20_000))
    assert all(0.9 < count * replicas / 20_000 < 1.1 for count in counts.values()), counts


def test_every_process_prefers_the_same_replica() -> None:
    program = "from router.replicas.balance import seed_of; print(seed_of('slm/0'))"
    environments = ({"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)} for seed in ("1", "2"))
    said = {
        subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True).stdout
        for environment in environments
    }
    assert said == {f"{SEEDS[0]}\n".encode()}
