from __future__ import annotations

import os

from router.profile.adaptation import Adaptation
from router.profile.learned import LEARNED_FOR_S, MAX_ENTRIES, MISCONFIGURED_FOR_S, LearnedProfiles
from tests.support.fakes import model

DROP = Adaptation("refuses", "temperature")


def profiles(**entry: object) -> LearnedProfiles:
    return LearnedProfiles({"slm": model(**entry)})  # type: ignore[arg-type]


def test_what_models_yaml_says_needs_no_refusal() -> None:
    one = profiles(refuses=("seed",), renames={"a": "b"}, limits={"n": 2.0}, wants=("json_word",), context=9)
    found = one.of("slm", 0.0)
    assert (dict(found.refuses), dict(found.renames), dict(found.limits)) == ({"seed": None}, {"a": "b"}, {"n": 2.0})
    assert (found.wants, found.context) == ({"json_word"}, 9)
    assert one.lines("slm", 0.0) == ([], [])


def test_what_is_learned_is_forgotten_after_a_while() -> None:
    one = profiles()
    one.learn("slm", [DROP], 100.0)
    assert "temperature" in one.of("slm", 100.0).refuses
    assert one.lines("slm", 100.0) == (["temperature=dropped"], [])
    assert not one.of("slm", 100.0 + LEARNED_FOR_S).refuses


def test_every_worker_sees_what_one_has_learned() -> None:
    one = profiles()
    assert not one.of("slm", 0.0).refuses
    worker = os.fork()
    if not worker:
        one.learn("slm", [DROP], 0.0)
        os._exit(0)
    os.waitpid(worker, 0)
    assert "temperature" in one.of("slm", 0.0).refuses


def test_what_was_learned_of_a_server_that_was_restarted_is_forgotten() -> None:
    one = profiles()
    one.learn("slm", [DROP], 0.0)
    one.note_misconfigured("slm", "tool_parser", "No parser.", 0.0)
    one.forget("slm")
    assert not one.of("slm", 0.0).refuses
    assert one.lines("slm", 0.0) == ([], [])


def test_what_the_operator_mends_is_forgotten() -> None:
    one = profiles()
    one.note_misconfigured("slm", "account", "No money.", 0.0)
    assert one.lines("slm", 1.0) == ([], ["account: No money."])
    assert one.lines("slm", MISCONFIGURED_FOR_S + 1.0) == ([], [])


def test_the_memory_is_bounded_and_keeps_the_newest() -> None:
    one = profiles()
    for number in range(2 * MAX_ENTRIES):
        one.learn("slm", [Adaptation("unenforced", f"{number}", None)], float(number))
    found = one.of("slm", 500.0).unenforced
    assert len(found) == MAX_ENTRIES
    assert f"{2 * MAX_ENTRIES - 1}" in found
    one.note_misconfigured("slm", "account", "x" * 100_000, 500.0)
    assert one.of("slm", 500.0).unenforced == frozenset()
