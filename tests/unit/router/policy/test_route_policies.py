"""Which policy takes a call: the route's, the one that the client names, or one that reads confidence."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from router.config.models import Config, Route
from router.errors import BadRequest, ConfigError
from router.learning.evidence_file import EvidenceFile
from router.policy import register, unregister
from router.policy.base import Policy
from router.policy.cascade import Cascade
from router.policy.classifier import Classifier
from router.policy.fixed import Fixed
from router.policy.guarantee import Guarantee
from router.policy.heuristic import Heuristic
from router.policy.route_policies import RoutePolicies
from tests.support.fakes import call, config, large, model


def served(policy: str = "fixed", **settings: Any) -> Config:
    return config(model(), large(), policy=policy, **settings)


def taken(by: Config, *, route: str = "auto", **routing: Any) -> Policy:
    return RoutePolicies(by).of(by.resolve(route), call(routing=routing))


def refused(by: Config, **routing: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        taken(by, **routing)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(("name", "policy"), [("fixed", Fixed), ("heuristic", Heuristic), ("cascade", Cascade)])
def test_a_route_s_policy_takes_its_calls_unless_the_client_names_another(name: str, policy: type[Policy]) -> None:
    assert type(taken(served(name))) is policy
    for other in ("fixed", "heuristic", "cascade"):
        assert type(taken(served(other), policy=name)) is policy


def test_a_policy_has_the_options_of_its_route() -> None:
    chosen = taken(served("heuristic", threshold=0.25))
    assert isinstance(chosen, Heuristic)
    assert chosen.threshold == 0.25
    by_default = taken(served("fixed"), policy="heuristic")
    assert isinstance(by_default, Heuristic)
    assert by_default.threshold == 0.5


def test_a_route_s_policies_are_built_once_also_a_pinned_model_s() -> None:
    one = served("cascade")
    policies = RoutePolicies(one)
    for name in ("auto", "slm"):
        assert policies.of(one.resolve(name), call()) is policies.of(one.resolve(name), call())
    assert type(policies.of(one.resolve("slm"), call())) is Fixed, "a pinned model has no policy of its own"


def test_evidence_is_read_once_a_route_and_what_it_lacks_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "evidence.json"
    EvidenceFile(made=date(2026, 11, 1), route="auto", fallback="llm", models={}).save(path)
    read: list[Path] = []
    load = EvidenceFile.load
    monkeypatch.setattr(EvidenceFile, "load", lambda path: read.append(path) or load(path))
    one = served("cascade", evidence=path)
    policies = RoutePolicies(one)
    assert type(policies.of(one.resolve("auto"), call(routing={"policy": "classifier"}))) is Classifier
    assert len(read) == 1
    assert [record.getMessage() for record in caplog.records] == [f"route auto: {path} has no evidence of slm"]


def test_a_route_that_lacks_what_its_policy_needs_is_refused_at_the_start() -> None:
    class Needy(Fixed):
        name = "needy"

        @classmethod
        def build(cls, route: Route) -> Needy | None:
            return None

    register(Needy)
    try:
        with pytest.raises(ConfigError, match=r"routes\.auto\.policy: needy lacks what it needs on this route"):
            RoutePolicies(served("needy"))
    finally:
        unregister(Needy)


# --- a demand for confidence


@pytest.mark.parametrize("route", ["fixed", "heuristic"])
def test_a_demand_on_a_route_that_reads_no_confidence_makes_it_a_cascade(route: str) -> None:
    assert type(taken(served(route), min_confidence=0.9)) is Cascade
    assert type(taken(served(route), min_confidence=0.0)) is Cascade, "zero is a demand, too"
    assert type(taken(served(route), route="slm", min_confidence=0.9)) is Cascade


def test_a_demand_leaves_a_policy_that_reads_confidence_alone() -> None:
    class Reader(Fixed):
        name = "reader"
        reads_confidence = True

        @classmethod
        def build(cls, route: Route) -> Reader:
            return cls()

    register(Reader)
    try:
        assert type(taken(served("reader"), min_confidence=0.9)) is Reader
    finally:
        unregister(Reader)


@pytest.mark.parametrize("route", ["fixed", "cascade"])
@pytest.mark.parametrize("named", ["fixed", "heuristic"])
def test_a_demand_contradicts_a_named_policy_that_does_not_read_it(route: str, named: str) -> None:
    error = refused(served(route), policy=named, min_confidence=0.5)
    assert error.message == (
        f"'routing.min_confidence' is read by the policies 'cascade' and 'classifier', not by '{named}'."
    )
    assert (error.param, error.code) == ("routing.min_confidence", "invalid_value")


def test_a_demand_contradicts_an_answer_that_does_not_wait_for_its_verdict() -> None:
    error = refused(served(), min_confidence=0.5, hold="none")
    assert error.message == (
        "'routing.hold' 'none' lets an answer leave before its confidence is known, "
        "and routing.min_confidence demands that."
    )
    assert (error.param, error.code) == ("routing.hold", "invalid_value")


@pytest.mark.parametrize("routing", [{"hold": "none"}, {"hold": "first", "min_confidence": 0.5}])
def test_either_alone_contradicts_nothing(routing: dict[str, Any]) -> None:
    assert type(taken(served("cascade"), **routing)) is Cascade


# --- what a route promises, and what it lacks


@pytest.mark.parametrize("hold", ["first", "none"])
@pytest.mark.parametrize("named", [None, "fixed", "cascade"])
def test_a_guarantee_is_kept_whichever_policy_the_client_names(hold: str, named: str | None) -> None:
    one = served("cascade", guarantee=Guarantee(max_quality_loss=0.1))
    error = refused(one, hold=hold, policy=named)
    assert error.message == (
        f"'routing.hold' '{hold}' lets an answer leave before its confidence is known, and this route guarantees that."
    )
    assert error.param == "routing.hold"
    assert type(taken(one, hold="whole")) is Cascade


@pytest.mark.parametrize("routing", [{}, {"min_confidence": 0.5}])
def test_a_route_without_evidence_has_no_classifier(routing: dict[str, Any]) -> None:
    error = refused(served(), policy="classifier", **routing)
    assert error.message == (
        "'routing.policy' 'classifier' needs what was learned of the route; 'auto' has no evidence."
    )
    assert (error.param, error.code) == ("routing.policy", "unsupported_value")
