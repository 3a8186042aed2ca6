"""Whatever an upstream says: what was asked for, or an error. The benchmark of the same name asks a thousand cases."""

from __future__ import annotations

import pytest

from benchmarks.structured.hostile import ENGINES, VARIANTS, Variant, verdict
from benchmarks.structured.reply import read
from tests.support.behaviours import answer
from tests.support.hostile import Case, cases, play
from tests.support.lanes import Lane, Plan

COUNT = 150


def describe(plan: Plan) -> None:
    for name, entry in ENGINES.items():
        kind = {"openai": plan.llm, "vllm": plan.slm}[entry["engine"]]
        kind(name, **{key: value for key, value in entry.items() if key not in ("tier", "engine")})


@pytest.fixture(scope="module")
def generated() -> list[Case]:
    return cases(COUNT)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_what_is_invalid_never_reaches_the_client_and_what_is_valid_always_does(
    lane: Lane, generated: list[Case], variant: Variant
) -> None:
    wrong = [(case, word) for case in generated if (word := ask(lane, case, variant)) != "as it must be"]
    assert not wrong, "\n".join(f"{case.name}: {word}: {case.message}" for case, word in wrong)


def ask(lane: Lane, case: Case, variant: Variant) -> str:
    site = lane.site(variant.engine)
    site.always(play(case))
    response = lane.chat(**variant.body(case, lane.name(variant.engine))).response
    site.always(answer())
    if case.fate == "broken":  # it speaks against the replica: a sound answer heals that before it rests
        assert lane.chat(variant.engine).status == 200
    return verdict(case, variant, read(response.status_code, response.headers, response.content))
