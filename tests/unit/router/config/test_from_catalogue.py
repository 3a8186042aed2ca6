from __future__ import annotations

from typing import Any

import pytest

from router.config.from_catalogue import context_warnings, entry_of, licence_warnings
from router.config.models import Model


def managed(**fields: Any) -> Model:
    return Model(name="m", tier="slm", engine="vllm", **fields)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"source": "./weights", "catalogue": "phi-4-mini"}, "phi-4-mini"),
        ({"source": "salesforce/llama-xlam-2-8b-fc-r"}, "xlam-2-8b"),
        ({"source": "org/unknown"}, None),
        ({"base_url": ("http://x/v1",)}, None),
    ],
)
def test_a_model_is_known_by_its_entry_or_by_its_weights(fields: dict[str, Any], name: str | None) -> None:
    entry = entry_of(managed(**fields))
    assert (entry and entry.name) == name


def test_a_model_that_is_not_for_commercial_use_is_named_in_one_line() -> None:
    models = [managed(source="./w", catalogue="xlam-2-8b"), managed(source="./w", catalogue="lfm2.5-1.2b")]
    assert licence_warnings(models) == [
        "m: Salesforce/Llama-xLAM-2-8b-fc-r is not for commercial use: research only (CC-BY-NC-4.0)"
    ]


def test_a_context_that_the_weights_do_not_have_is_named_in_one_line() -> None:
    fits = managed(source="./w", catalogue="phi-3-mini-4k", context=4096)
    unknown = managed(source="org/unknown", context=10**9)
    longer = managed(source="microsoft/Phi-3-mini-4k-instruct", context=4097)
    assert context_warnings([fits, unknown, longer, managed(source="./w", catalogue="phi-4-mini")]) == [
        "m: context 4,097 is above the 4,096 tokens of microsoft/Phi-3-mini-4k-instruct; the engine will probably not"
        " start"
    ]
