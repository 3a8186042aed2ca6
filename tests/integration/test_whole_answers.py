"""A whole answer: the upstream's body, our headers, exact money."""

from __future__ import annotations

import gzip
import json
import re
import socket
from decimal import Decimal

import pytest

from tests.support.behaviours import answer, respond
from tests.support.lanes import Lane, Plan, usual
from tests.support.stream_events import usage_of
from tests.support.waiting import PATIENCE_S, wait_until

NANO = Decimal("0.000000001")


def describe(plan: Plan) -> None:
    usual(plan)
    plan.slm("hourly", price={"replica_hour_usd": 3.6})
    plan.slm("unpriced", price=None)
    plan.route("hours", "hourly", "llm")
    plan.route("free", "unpriced", "llm")
    plan.route("lonely", "slm")


def test_the_upstreams_body_is_the_answer(lane: Lane) -> None:
    body = {
        "id": "chatcmpl-xyz",
        "object": "chat.completion",
        "created": 1700000001,
        "model": "what-the-upstream-says",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "é\U0001f600", "refusal": None, "x_unknown": [2**70]},
                "logprobs": {"content": [{"token": "é", "logprob": -0.25, "bytes": [195, 169], "top_logprobs": []}]},
                "finish_reason": "stop",
            },
            {
                "index": 1,
                "message": {"role": "assistant", "content": "b", "refusal": None, "annotations": []},
                "finish_reason": "length",
            },
        ],
        "usage": usage_of(5, 2, cached=1),
        "system_fingerprint": "fp_1",
        "service_tier": "default",
        "kv_transfer_params": None,
    }
    lane.slm.then(respond(200, body))
    assert lane.chat(n=2).json == body


def test_headers_of_an_answer(lane: Lane) -> None:
    reply = lane.chat()
    assert reply.said("model") == lane.name("slm")
    assert reply.said("route") == lane.name("auto")
    assert reply.said("reason") == "fixed"
    assert reply.said("attempts") == "1"
    assert len(reply.headers.get_list("x-request-id")) == 1
    assert reply.headers["content-type"] == "application/json"
    assert int(reply.headers["content-length"]) == len(reply.response.content)


def test_a_pinned_model_names_itself(lane: Lane) -> None:
    reply = lane.chat("llm")
    assert reply.said("model") == lane.name("llm")
    assert reply.json["model"] == "big-model-1", "the body says what the upstream said"


def test_request_ids_differ_and_the_upstreams_does_not_leak(lane: Lane) -> None:
    lane.slm.always(respond(200, _body(), {"x-request-id": "req-of-the-upstream", "set-cookie": "a=b"}))
    replies = [lane.chat() for _ in range(2)]
    ids = [reply.headers.get_list("x-request-id") for reply in replies]
    assert [len(each) for each in ids] == [1, 1]
    assert ids[0] != ids[1]
    assert "req-of-the-upstream" not in str(ids)
    assert all("set-cookie" not in reply.headers for reply in replies)


@pytest.mark.parametrize("given", ["evil\tid", "x" * 5000, "a b"])
def test_a_clients_request_id_does_not_break_ours(lane: Lane, given: str) -> None:
    reply = lane.chat(headers={"x-request-id": given, "x-client-request-id": given})
    assert reply.status == 200
    assert len(reply.headers.get_list("x-request-id")) == 1
    assert re.fullmatch(r"[\w.-]{8,128}", reply.headers["x-request-id"])


def test_cost_and_saving_are_exact(lane: Lane) -> None:
    lane.slm.then(answer(usage=usage_of(1234, 567)))
    reply = lane.chat()
    cost = (1234 * 50 + 567 * 100) * NANO
    fallback = (1234 * 400 + 567 * 1600) * NANO
    assert reply.dollars("cost-usd") == cost
    assert reply.dollars("saved-usd") == fallback - cost


def test_cost_is_a_plain_decimal_number(lane: Lane) -> None:
    lane.slm.then(answer(usage=usage_of(1, 0)))
    reply = lane.chat()
    assert re.fullmatch(r"0\.\d+", reply.said("cost-usd")), "no exponent, which shells and spreadsheets misread"
    assert reply.dollars("cost-usd") == 50 * NANO


def test_cached_input_has_its_own_price(lane: Lane) -> None:
    lane.llm.then(answer(usage=usage_of(1000, 100, cached=400)))
    reply = lane.chat("llm")
    assert reply.dollars("cost-usd") == (600 * 400 + 400 * 100 + 100 * 1600) * NANO
    assert reply.dollars("saved-usd") == 0


def test_the_fallback_saves_nothing(lane: Lane) -> None:
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]
    reply = lane.chat("auto", messages=image)
    assert reply.status == 400, "neither is declared able to see"
    reply = lane.chat("llm")
    assert reply.dollars("saved-usd") == 0


def test_a_replica_priced_by_the_hour_costs_its_busy_time(lane: Lane) -> None:
    reply = lane.chat("hours")
    assert 0 < reply.dollars("cost-usd") < Decimal("0.01"), "3.6 USD an hour is a tenth of a cent a second"
    assert reply.dollars("saved-usd") == (10 * 400 + 2 * 1600) * NANO - reply.dollars("cost-usd")


def test_an_unknown_price_is_not_called_zero(lane: Lane) -> None:
    reply = lane.chat("free")
    assert reply.status == 200
    assert "x-smallfirst-cost-usd" not in reply.headers
    assert "x-smallfirst-saved-usd" not in reply.headers
    lane.expect(1, "unpriced_requests_total", route="free", model=lane.name("unpriced"))


def test_missing_usage_is_not_called_zero(lane: Lane) -> None:
    body = _body()
    del body["usage"]
    lane.slm.then(respond(200, body))
    reply = lane.chat()
    assert reply.status == 200
    assert "x-smallfirst-cost-usd" not in reply.headers
    lane.expect(1, "unpriced_requests_total", model=lane.name("slm"))


def test_no_fallback_no_saving(lane: Lane) -> None:
    reply = lane.chat("lonely")
    assert reply.dollars("cost-usd") == (10 * 50 + 2 * 100) * NANO
    assert Decimal(reply.headers.get("x-smallfirst-saved-usd", "0")) == 0


def test_completions(lane: Lane) -> None:
    reply = lane.complete()
    assert reply.status == 200
    assert reply.json["object"] == "text_completion"
    assert reply.json["choices"][0]["text"] == "Paris."
    assert reply.said("model") == lane.name("slm")
    assert reply.dollars("cost-usd") == (10 * 50 + 2 * 100) * NANO


def test_a_compressed_answer_reaches_the_client_readable(lane: Lane) -> None:
    data = gzip.compress(json.dumps(_body()).encode())
    lane.slm.then(respond(200, data, {"content-type": "application/json", "content-encoding": "gzip"}))
    assert lane.chat().json == _body()


def test_an_answer_of_megabytes(lane: Lane) -> None:
    text = "漢" * 1_500_000
    lane.slm.then(answer(text))
    assert lane.chat().text == text


def test_two_requests_sent_at_once_on_one_connection(lane: Lane) -> None:
    data = json.dumps(lane.body()).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(data)
    with socket.create_connection(("127.0.0.1", lane.gateway.port), timeout=PATIENCE_S) as client:
        client.sendall((head + data) * 2)
        received = b""
        while received.count(b"Paris.") < 2:
            received += (more := client.recv(65536))
            assert more, received
    assert received.count(b"HTTP/1.1 200") == 2


def test_a_client_that_waits_for_100_continue(lane: Lane) -> None:
    data = json.dumps(lane.body()).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", lane.gateway.port), timeout=PATIENCE_S) as client:
        client.sendall(head % len(data))
        assert client.recv(65536).startswith(b"HTTP/1.1 100")
        client.sendall(data)
        assert client.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_log_ties_the_clients_request_id_to_ours(lane: Lane) -> None:
    reply = lane.chat(headers={"x-client-request-id": "client-id-7d1"})
    wait_until(lambda: "client-id-7d1" in lane.gateway.output)
    [line] = [line for line in lane.gateway.output.splitlines() if "client-id-7d1" in line]
    entry = json.loads(line)
    assert entry["request_id"] == reply.headers["x-request-id"]
    assert (entry["model"], entry["outcome"]) == (lane.name("slm"), "ok")


def _body() -> dict[str, object]:
    message = {"role": "assistant", "content": "hi", "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]} | {
        "usage": usage_of(10, 2)
    }
