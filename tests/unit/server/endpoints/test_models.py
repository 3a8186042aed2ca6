from __future__ import annotations

import pytest

from router.config.models import Config, Model, Route
from router.errors import NotFound
from server.endpoints.models import ModelList
from tests.support.fakes import config, large, model

LIST = ModelList(config(model("slm"), large("org/llm:1")))


def test_lists_routes_and_models_sorted() -> None:
    listed = LIST.all()
    assert listed["object"] == "list"
    assert [entry["id"] for entry in listed["data"]] == ["auto", "org/llm:1", "slm"]
    for entry in listed["data"]:
        assert entry.keys() == {"id", "object", "created", "owned_by"}
        assert entry["object"] == "model"
        assert isinstance(entry["created"], int)


def test_an_adapter_names_its_model() -> None:
    base = Model(name="tiny", tier="slm", engine="vllm", source="owner/tiny", adapters={"orders": "./orders"})
    listed = ModelList(config(base, *base.adapter_models))
    assert listed.one("orders")["parent"] == "tiny"
    assert "parent" not in listed.one("tiny")


def test_what_is_left_out_is_not_listed() -> None:
    one = model()
    left_out = ModelList(Config({"slm": one}, {"auto": Route("auto", ((one,),), one)}, {"llm": "no key"}))
    assert [entry["id"] for entry in left_out.all()["data"]] == ["auto", "slm"]
    with pytest.raises(NotFound):
        left_out.one("llm")


@pytest.mark.parametrize("name", ["auto", "slm", "org/llm:1"])
def test_one(name: str) -> None:
    assert LIST.one(name) in LIST.all()["data"]
    assert LIST.one(name)["id"] == name


@pytest.mark.parametrize("name", ["", "nope", "SLM", "x" * 10_000])
def test_unknown(name: str) -> None:
    with pytest.raises(NotFound) as caught:
        LIST.one(name)
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")
    assert len(caught.value.message) < 300
