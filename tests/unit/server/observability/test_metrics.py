from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from router.config.models import Config, Model, Route, Timeouts
from router.decision import Judgement
from router.money.price import Price
from router.record import Attempt, Escalation, ModelWait, RequestRecord
from router.replicas.shared_memory import MAX_CELL
from router.types import LoadReport, ModelStatus, ReplicaWork, Usage
from server.admission import Admission
from server.observability.definitions import DURATION_BUCKETS_S, FIRST_TOKEN_BUCKETS_S, METRIC_NAMES
from server.observability.metrics import ADMISSION, Metrics
from server.observability.shared_counters import SharedCounters

CHEAP = Price(input_usd_per_mtok=1.0, cached_input_usd_per_mtok=0.1, output_usd_per_mtok=2.0)
DEAR = Price(input_usd_per_mtok=10.0, output_usd_per_mtok=20.0)
SLM = Model(name="slm", tier="slm", engine="vllm", base_url=("http://slm/v1",), price=CHEAP)
LLM = Model(name="llm", tier="llm", engine="openai", base_url=("http://llm/v1",), price=DEAR)
CONFIG = Config({"slm": SLM, "llm": LLM}, {"auto": Route("auto", ((SLM,), (LLM,)), LLM)}, {})
USAGE = Usage(prompt=100, cached=40, completion=10)  # 84,000 nano-dollars on the SLM, 1,200,000 on the LLM


def gateway(*statuses: ModelStatus) -> Metrics:
    return Metrics(CONFIG, lambda: statuses)


def attempt(model: str = "slm", price: Price | None = CHEAP, usage: Usage | None = USAGE) -> Attempt:
    return Attempt(model, "replica", price=price, usage=usage, answered=True)


def record(**fields: Any) -> RequestRecord:
    defaults: dict[str, Any] = {
        "endpoint": "chat/completions",
        "route": "auto",
        "model": "slm",
        "outcome": "ok",
        "attempts": [attempt()],
        "fallback": LLM,
        "finished": 101.5,
    }
    return RequestRecord("req_1", started=100.0, **(defaults | fields))


def samples(metrics: Metrics) -> dict[str, float]:
    """Read the page as Prometheus would: `name{label=value,...}` -> value, labels in order of their names."""
    body, media_type = metrics.render()
    assert media_type == "text/plain; version=0.0.4; charset=utf-8"
    return dict(_read(body.decode()))


def _read(text: str) -> Iterator[tuple[str, float]]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            yield f"{sample.name.removeprefix('smallfirst_')}{{{labels}}}", sample.value


def test_one_request() -> None:
    metrics = gateway()
    metrics.observe(
        record(
            first_token_s=0.3,
            retries=[("slm", "timeout")],
            refused_retries=[("slm", "overloaded")],
            hedges=[("slm", "won")],
            misconfigured=[("llm", "key")],
            verdicts=[("slm", "json_schema", "invalid"), ("slm", "json_schema", "valid")],
        )
    )
    seen = samples(metrics)
    assert seen["requests_total{model=slm,outcome=ok,route=auto}"] == 1
    assert seen["tokens_total{kind=prompt,model=slm}"] == 100
    assert seen["tokens_total{kind=cached_prompt,model=slm}"] == 40
    assert seen["tokens_total{kind=completion,model=slm}"] == 10
    assert seen["cost_usd_total{model=slm,route=auto}"] == 0.000_084
    assert seen["fallback_cost_usd_total{model=slm,route=auto}"] == 0.001_2
    assert seen["retries_total{model=slm,reason=timeout}"] == 1
    assert seen["retries_refused_total{model=slm,reason=overloaded}"] == 1
    assert seen["hedges_total{model=slm,result=won}"] == 1
    assert seen["misconfigured_total{kind=key,model=llm}"] == 1
    assert seen["structured_verdicts_total{kind=json_schema,model=slm,verdict=invalid}"] == 1
    assert seen["structured_verdicts_total{kind=json_schema,model=slm,verdict=valid}"] == 1
    assert seen["request_duration_seconds_bucket{le=1.0,model=slm,route=auto}"] == 0
    assert seen["request_duration_seconds_bucket{le=2.5,model=slm,route=auto}"] == 1
    assert seen["request_duration_seconds_bucket{le=+Inf,model=slm,route=auto}"] == 1
    assert seen["request_duration_seconds_sum{model=slm,route=auto}"] == 1.5
    assert seen["request_duration_seconds_count{model=slm,route=auto}"] == 1
    assert seen["time_to_first_token_seconds_bucket{le=0.25,model=slm,route=auto}"] == 0
    assert seen["time_to_first_token_seconds_bucket{le=0.5,model=slm,route=auto}"] == 1
    assert seen["unpriced_requests_total{model=slm,route=auto}"] == 0


def test_a_whole_answer_has_no_first_token() -> None:
    metrics = gateway()
    metrics.observe(record())
    assert not any(name.startswith("time_to_first_token") for name in samples(metrics))


def test_a_vain_attempt_costs_on_its_own_model() -> None:
    metrics = gateway()
    metrics.observe(
        record(
            model="llm",
            attempts=[attempt(), attempt("llm", DEAR)],
            escalations=[Escalation("slm", "llm", "structured")],
        )
    )
    seen = samples(metrics)
    assert seen["requests_total{model=llm,outcome=ok,route=auto}"] == 1
    assert seen["cost_usd_total{model=slm,route=auto}"] == 0.000_084
    assert seen["cost_usd_total{model=llm,route=auto}"] == 0.001_2
    assert seen["fallback_cost_usd_total{model=llm,route=auto}"] == 0.001_2
    assert seen["escalations_total{from_model=slm,reason=structured,route=auto,to_model=llm}"] == 1
    assert seen["tokens_total{kind=prompt,model=slm}"] == seen["tokens_total{kind=prompt,model=llm}"] == 100


@pytest.mark.parametrize("unknown", [attempt(price=None), attempt(usage=None)])
def test_an_unknown_cost_is_counted_as_such_and_shows_no_saving(unknown: Attempt) -> None:
    metrics = gateway()
    metrics.observe(record(model="llm", attempts=[unknown, unknown, attempt("llm", DEAR)]))
    seen = samples(metrics)
    assert seen["unpriced_requests_total{model=slm,route=auto}"] == 1
    assert seen["cost_usd_total{model=llm,route=auto}"] == 0.001_2
    assert "cost_usd_total{model=slm,route=auto}" not in seen
    assert not any(name.startswith("fallback_cost") for name in seen)


HOURLY = Price(replica_hour_usd=3.6)
BY_HOUR = Model(name="llm", tier="llm", engine="vllm", base_url=("http://llm/v1",), price=HOURLY)


@pytest.mark.parametrize(
    "fallback",
    [None, BY_HOUR, BY_HOUR.model_copy(update={"price": None})],
    ids=["none", "by the hour: its pace is unknown", "no price"],
)
def test_where_the_fallbacks_cost_is_unknown_no_saving_is_claimed(fallback: Model | None) -> None:
    metrics = gateway()
    one = record(fallback=fallback, attempts=[attempt(), attempt()])
    metrics.observe(one)
    metrics.observe(record())  # one whose saving is known
    seen = samples(metrics)
    assert one.bill().saved is None
    assert seen["cost_usd_total{model=slm,route=auto}"] == pytest.approx(3 * 0.000_084)
    assert seen["fallback_cost_usd_total{model=slm,route=auto}"] == pytest.approx(2 * 0.000_084 + 0.001_2)


def test_an_hourly_fallback_that_answered_saves_nothing_and_loses_what_was_spent_below() -> None:
    metrics = gateway()
    own = Attempt("llm", "llm/0", price=HOURLY, usage=USAGE, answered=True, busy_s=0.5)
    metrics.observe(record(model="llm", fallback=BY_HOUR, attempts=[attempt(), own]))
    seen = samples(metrics)
    assert seen["fallback_cost_usd_total{model=llm,route=auto}"] == 0.000_5
    assert seen["cost_usd_total{model=llm,route=auto}"] == 0.000_5
    assert seen["cost_usd_total{model=slm,route=auto}"] == 0.000_084


def test_what_nobody_answered_would_have_cost_nothing_and_was_spent_all_the_same() -> None:
    metrics = gateway()
    metrics.observe(record(model="", outcome="structured_violation", attempts=[attempt(), attempt("llm", DEAR)]))
    seen = samples(metrics)
    assert seen["cost_usd_total{model=slm,route=auto}"] == 0.000_084
    assert seen["cost_usd_total{model=llm,route=auto}"] == 0.001_2
    assert seen["fallback_cost_usd_total{model=none,route=auto}"] == 0


def test_a_request_that_nobody_answered() -> None:
    metrics = gateway()
    metrics.observe(record(route="", model="", attempts=[], outcome="client_error"))
    seen = samples(metrics)
    assert seen["requests_total{model=none,outcome=client_error,route=none}"] == 1
    assert not any("cost" in name for name in seen)
    assert not any(value for name, value in seen.items() if "unpriced" in name)


def test_what_is_no_call_for_text_is_left_out() -> None:
    metrics = gateway()
    metrics.observe(record(endpoint=""))
    assert not any(value for name, value in samples(metrics).items() if name.startswith("requests_total"))


def test_a_pinned_model_is_a_route() -> None:
    metrics = gateway()
    metrics.observe(record(route="slm"))
    assert samples(metrics)["requests_total{model=slm,outcome=ok,route=slm}"] == 1


@given(st.lists(st.text(max_size=5).filter(lambda name: name not in ("slm", "llm", "auto")), max_size=20))
def test_names_that_are_not_configured_never_become_labels(names: list[str]) -> None:
    metrics = gateway()
    for name in ["", *names]:
        metrics.observe(
            record(
                route=name,
                model=name,
                attempts=[attempt(name), attempt(name, None)],
                first_token_s=0.1,
                escalations=[Escalation(name, name, "policy")],
                retries=[(name, "timeout")],
                refused_retries=[(name, "timeout")],
                hedges=[(name, "won")],
                verdicts=[(name, "json_object", "valid")],
            )
        )
    page = metrics.render()[0].decode()
    label_names = {"route", "model", "from_model", "to_model"}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            assert {sample.labels[name] for name in label_names & set(sample.labels)} <= {"none", "auto", "slm", "llm"}


def test_money_is_summed_exactly() -> None:
    metrics = gateway()
    tiny = attempt(usage=Usage(completion=1), price=Price(input_usd_per_mtok=0, output_usd_per_mtok=0.001))
    assert tiny.cost_nano_usd == 1
    huge = attempt(usage=Usage(completion=10**15), price=CHEAP)  # two billion dollars
    metrics.observe(record(attempts=[huge]))
    at = metrics._counters.allocate(("cost_usd_total", "auto", "slm"))
    for _ in range(10_000):
        metrics.observe(record(attempts=[tiny]))
    assert metrics._counters.cells[at] == 2 * 10**18 + 10_000  # floats would have lost every one of them
    assert samples(metrics)["cost_usd_total{model=slm,route=auto}"] == pytest.approx(2e9 + 1e-5)


@given(st.lists(st.floats(0, 1000), max_size=50))
def test_buckets_count_all_that_is_not_above_them(durations: list[float]) -> None:
    metrics = gateway()
    for duration in durations:
        finished = record(finished=duration)
        finished.started = 0.0
        metrics.observe(finished)
    seen = samples(metrics)
    for bound in DURATION_BUCKETS_S if durations else ():
        name = f"request_duration_seconds_bucket{{le={bound},model=slm,route=auto}}"
        assert seen[name] == sum(duration <= bound for duration in durations)
    count = seen.get("request_duration_seconds_count{model=slm,route=auto}", 0)
    assert count == len(durations)


def test_buckets_span_what_language_models_take() -> None:
    assert (DURATION_BUCKETS_S[0], DURATION_BUCKETS_S[-1]) == (0.005, 600)
    assert (FIRST_TOKEN_BUCKETS_S[0], FIRST_TOKEN_BUCKETS_S[-1]) == (0.005, 60)
    for bounds in (DURATION_BUCKETS_S, FIRST_TOKEN_BUCKETS_S):
        assert list(bounds) == sorted(set(bounds))


@pytest.mark.parametrize(
    ("name", "limit", "slower", "last"),
    [
        ("time_to_first_token_seconds", "first_byte_s", 59, "60.0"),
        ("time_to_first_token_seconds", "first_byte_s", 60, "120.0"),
        ("time_to_first_token_seconds", "first_byte_s", 120, "300.0"),
        ("request_duration_seconds", "total_s", 300, "600.0"),
        ("request_duration_seconds", "total_s", 1000, "1200.0"),
        ("request_duration_seconds", "total_s", 10_000_000, "86400.0"),
        ("model_wait_seconds", "load_s", 900, "1200.0"),
    ],
)
def test_buckets_go_beyond_the_largest_configured_limit(name: str, limit: str, slower: float, last: str) -> None:
    """What takes as long as a limit allows can be told from what takes longer, by every worker alike."""
    quick = SLM.model_copy(update={"timeouts": Timeouts(first_byte_s=1, total_s=1, load_s=1)})
    slow = LLM.model_copy(update={"timeouts": Timeouts(**{limit: slower})})
    patient = Config({"slm": quick, "llm": slow}, {"auto": Route("auto", ((quick,), (slow,)), slow)}, {})
    everyone = SharedCounters(), SharedCounters()
    workers = [Metrics(patient, lambda: (), everyone, own) for own in range(2)]
    for worker in workers:
        worker.observe(
            record(first_token_s=min(slower, 86400), finished=100.0 + min(slower, 86400), waits=[ModelWait("slm", 5.0)])
        )
    labels = "model=slm" if name == "model_wait_seconds" else "model=slm,route=auto"
    bounds = [key.split("le=")[1].split(",")[0] for key in samples(workers[0]) if key.startswith(f"{name}_bucket")]
    assert bounds[-2:] == [last, "+Inf"]
    assert samples(workers[1])[f"{name}_bucket{{le={last},{labels}}}"] == 2


def test_tokens_are_counted_by_the_replica_that_made_them() -> None:
    metrics = gateway()
    metrics.observe(record(attempts=[attempt(), Attempt("slm", "slm/1", usage=USAGE), attempt()]))
    seen = samples(metrics)
    assert seen["replica_tokens_total{kind=prompt,model=slm,replica=replica}"] == 200
    assert seen["replica_tokens_total{kind=cached_prompt,model=slm,replica=slm/1}"] == 40
    assert seen["replica_tokens_total{kind=completion,model=slm,replica=slm/1}"] == 10
    assert seen["tokens_total{kind=completion,model=slm}"] == 30


def test_an_adapters_tokens_count_where_its_replicas_hours_do() -> None:
    base = Model(name="small", tier="slm", engine="vllm", source="o/m", price=BY_HOUR.price, adapters={"orders": "o/l"})
    [orders] = base.adapter_models
    work = [ReplicaWork("small/0", up_s=3600.0, busy_s=1.0, paid_s=3600.0)], [ReplicaWork("small/0", 0.0, 0.0, 0.0)]
    statuses = [ModelStatus(name, 1, 1, 0, 0, work=one) for name, one in zip(("small", "orders"), work, strict=True)]
    metrics = Metrics(Config({"small": base, "orders": orders}, {}, {}), lambda: statuses)
    asked = [Attempt(name, "small/0", base.price, answered=True, usage=USAGE) for name in ("small", "orders", "orders")]
    metrics.observe(record(model="orders", attempts=asked))
    seen = samples(metrics)
    assert seen["replica_tokens_total{kind=prompt,model=small,replica=small/0}"] == 3 * USAGE.prompt
    assert not any(name.startswith("replica_tokens_total") and "model=orders" in name for name in seen)
    assert seen["tokens_total{kind=prompt,model=orders}"] == 2 * USAGE.prompt
    paid = {name: value for name, value in seen.items() if name.startswith("replica_paid_usd_total")}
    assert sum(paid.values()) == seen["replica_paid_usd_total{model=small,replica=small/0}"] > 0, "paid once"
    assert len(paid) == 2, "and the series of the adapter says that its cost is part of it"


def test_a_replicas_time_is_told_and_what_it_cost_loaded_where_it_is_paid_by_the_hour() -> None:
    work = [ReplicaWork("llm/0", 7200.0, 1800.0, paid_s=7500.0), ReplicaWork("llm/1", 0.5, 0.0, paid_s=0.5)]
    models = {"slm": SLM, "llm": BY_HOUR, "free": BY_HOUR.model_copy(update={"price": None})}
    statuses = [ModelStatus(name, 2, 2, 0, 0, work=work) for name in models]
    seen = samples(Metrics(Config(models, {}, {}), lambda: statuses))
    for name in models:
        assert seen[f"replica_up_seconds_total{{model={name},replica=llm/0}}"] == 7200.0
        assert seen[f"replica_busy_seconds_total{{model={name},replica=llm/0}}"] == 1800.0
    paid = {name: value for name, value in seen.items() if name.startswith("replica_paid")}
    assert paid == {
        "replica_paid_usd_total{model=llm,replica=llm/0}": 7.5,
        "replica_paid_usd_total{model=llm,replica=llm/1}": 0.0005,
    }


async def test_gauges_are_read_at_the_scrape() -> None:
    statuses = [ModelStatus("slm", replicas=2, up=1, in_flight=3, restarts=4, detail="one is down")]
    metrics = Metrics(CONFIG, lambda: statuses)
    admission = Admission(1, 10, 1.0, shared_counts=metrics.admission_counts)
    assert samples(metrics)["requests_in_flight{}"] == 0
    async with admission:
        seen = samples(metrics)
    assert (seen["requests_in_flight{}"], seen["requests_queued{}"]) == (1, 0)
    assert seen["replicas{model=slm}"] == 2
    assert seen["replicas_up{model=slm}"] == 1
    assert seen["replica_in_flight{model=slm}"] == 3
    assert seen["replica_restarts_total{model=slm}"] == 4
    assert "one is down" not in metrics.render()[0].decode()
    statuses[:] = [ModelStatus("slm", replicas=2, up=2, in_flight=0, restarts=5)]
    assert samples(metrics)["replicas_up{model=slm}"] == 2


def test_a_model_that_is_not_always_loaded_tells_its_loads_and_who_waits() -> None:
    load = LoadReport("unloaded", may_wait=True, waiting=2, loads=5, unloads={"swap": 3, "idle": 1})
    statuses = [ModelStatus("slm", 2, 0, 0, 0, load=load), ModelStatus("llm", 1, 1, 0, 0)]
    metrics = Metrics(CONFIG, lambda: statuses)
    seen = samples(metrics)
    assert (seen["replicas{model=slm}"], seen["replicas_expected{model=slm}"]) == (2, 0)
    assert seen["replicas_expected{model=llm}"] == 1
    assert seen["model_loads_total{model=slm}"] == 5
    assert seen["model_unloads_total{model=slm,reason=swap}"] == 3
    assert seen["requests_waiting{model=slm}"] == 2
    assert not [name for name in seen if name.startswith(("model_loads", "requests_waiting")) and "llm" in name]
    metrics.observe(record(waits=[ModelWait("slm", 1.5), ModelWait("llm", 0.5)]))
    seen = samples(metrics)
    assert seen["model_wait_seconds_sum{model=slm}"] == 1.5
    assert seen["model_wait_seconds_count{model=llm}"] == 1


def test_the_names_are_the_contract() -> None:
    metrics = gateway(ModelStatus("slm", 1, 1, 0, 0))
    lines = metrics.render()[0].decode().splitlines()
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    assert set(types) == METRIC_NAMES
    assert {name for name, kind in types.items() if kind == "histogram"} == {
        "smallfirst_request_duration_seconds",
        "smallfirst_time_to_first_token_seconds",
        "smallfirst_answer_confidence",
        "smallfirst_model_wait_seconds",
    }
    assert {name for name, kind in types.items() if kind == "counter"} == {
        name for name in METRIC_NAMES if name.endswith("_total")
    }
    [build] = [line for line in lines if line.startswith("smallfirst_build_info")]
    assert build.startswith('smallfirst_build_info{version="')
    assert build.endswith("} 1.0")


def test_two_gateways_in_one_process_do_not_share() -> None:
    one, other = gateway(), gateway()
    one.observe(record())
    assert not any(value for name, value in samples(other).items() if name.startswith("requests_total"))


def test_several_processes_count_as_one_and_any_of_them_tells() -> None:
    worker_counters = [SharedCounters(), SharedCounters(), SharedCounters()]
    every = [Metrics(CONFIG, lambda: (), worker_counters, worker) for worker in range(3)]
    once = gateway()
    for number in range(9):
        observed = record(
            model=["slm", "llm"][number % 2],
            first_token_s=0.1 * number,
            finished=100.0 + number,
            outcome=["ok", "timeout"][number % 2],
            attempts=[attempt(), attempt("llm", DEAR)],
            escalations=[Escalation("slm", "llm", "timeout")] * (number % 2),
        )
        every[number % 3].observe(observed)
        once.observe(observed)
    for worker, metrics in enumerate(every):
        metrics.admission_counts[0], metrics.admission_counts[1] = 10**worker, 5 * 10**worker
    expected = samples(once) | {"requests_in_flight{}": 111, "requests_queued{}": 555}
    for metrics in (*every, Metrics(CONFIG, lambda: (), worker_counters, 1)):  # its successor
        assert samples(metrics) == expected
    worker_counters[2].clear(ADMISSION)
    assert samples(every[0])["requests_in_flight{}"] == 11


def test_the_pools_are_asked_once_a_scrape() -> None:
    asked: list[int] = []
    metrics = Metrics(CONFIG, lambda: asked.append(1) or [ModelStatus("slm", 1, 1, 0, 0)])
    samples(metrics)
    assert asked == [1]


def test_a_claim_beyond_all_bounds_breaks_nothing() -> None:
    metrics = gateway()
    absurd = attempt(
        usage=Usage(prompt=2**40, completion=2**40), price=Price(input_usd_per_mtok=1e6, output_usd_per_mtok=0)
    )
    for _ in range(3):
        metrics.observe(record(attempts=[absurd]))
    seen = samples(metrics)
    assert seen["cost_usd_total{model=slm,route=auto}"] == pytest.approx(MAX_CELL / 1e9)
    assert seen["tokens_total{kind=prompt,model=slm}"] == 3 * 2**40


def test_what_may_be_counted_stands_at_zero_before() -> None:
    seen = samples(gateway())
    assert seen["requests_total{model=slm,outcome=ok,route=auto}"] == 0
    assert seen["requests_total{model=none,outcome=upstream_error,route=auto}"] == 0
    assert seen["structured_verdicts_total{kind=json_schema,model=llm,verdict=invalid}"] == 0
    assert seen["unpriced_requests_total{model=llm,route=auto}"] == 0
    assert not any(name.startswith("tokens_total") for name in seen)


def test_every_model_has_its_tier() -> None:
    seen = samples(gateway())
    assert seen["model_info{model=slm,tier=slm}"] == seen["model_info{model=llm,tier=llm}"] == 1


def test_judged_answers_are_counted_by_how_sure_they_were() -> None:
    metrics = gateway()
    unsure = Judgement("slm", -1.0, gain=0.75, threshold=0.2, accepted=False)
    sure = Judgement("slm", 3.0, gain=0.04, threshold=0.2, accepted=True)
    metrics.observe(record(judgements=[unsure, sure]))
    metrics.observe(record(best_effort="upstream_error"))
    found = samples(metrics)
    assert found["judged_answers_total{model=slm,route=auto,verdict=unsure}"] == 1
    assert found["judged_answers_total{model=slm,route=auto,verdict=rejected}"] == 1
    assert found["judged_answers_total{model=slm,route=auto,verdict=accepted}"] == 1
    assert found["answer_confidence_bucket{le=0.3,model=slm,route=auto}"] == 1
    assert found["answer_confidence_bucket{le=0.99,model=slm,route=auto}"] == 2
    assert found["answer_confidence_sum{model=slm,route=auto}"] == pytest.approx(1.21)
