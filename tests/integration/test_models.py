"""GET /v1/models and /v1/models/{id}: routes and models, as the SDK reads them."""

from __future__ import annotations

import pytest
from openai import OpenAI

from tests.support.gateway import Gateway
from tests.support.lanes import Plan, error_of, usual


def describe(plan: Plan) -> None:
    usual(plan)
    plan.llm("org/llm")
    plan.slm("waiting", api_key="${env.A_KEY_THAT_IS_NOT_SET}")


def test_the_list_holds_routes_and_models_sorted(gateway: Gateway) -> None:
    body = gateway.http.get("/v1/models").json()
    assert body["object"] == "list"
    names = [entry["id"] for entry in body["data"]]
    assert names == sorted(names)
    assert {"auto-0", "slm-0", "llm-0", "org/llm-0"} <= set(names)
    for entry in body["data"]:
        assert entry["object"] == "model"
        assert isinstance(entry["created"], int)
        assert entry["owned_by"]


def test_a_model_that_is_left_out_is_not_listed(gateway: Gateway) -> None:
    names = [entry["id"] for entry in gateway.http.get("/v1/models").json()["data"]]
    assert "waiting-0" not in names
    response = gateway.http.get("/v1/models/waiting-0")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["auto-0", "slm-0", "org/llm-0", "org%2Fllm-0"])
def test_one_model(gateway: Gateway, name: str) -> None:
    response = gateway.http.get(f"/v1/models/{name}")
    assert response.status_code == 200
    body = response.json()
    assert (body["id"], body["object"]) == (name.replace("%2F", "/"), "model")
    assert len(response.headers.get_list("x-request-id")) == 1


@pytest.mark.parametrize("name", ["nothing", "org/nothing", "auto-0/x", "%00", "SLM-0"])
def test_an_unknown_model_is_a_404(gateway: Gateway, name: str) -> None:
    response = gateway.http.get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert error_of(response)["code"] == "model_not_found"


def test_the_sdk_reads_them(gateway: Gateway) -> None:
    with OpenAI(base_url=f"{gateway.url}/v1", api_key="none") as client:
        listed = [model.id for model in client.models.list()]
        assert listed == sorted(listed)
        assert client.models.retrieve("auto-0").id == "auto-0"
        assert client.models.retrieve("org/llm-0").id == "org/llm-0"
