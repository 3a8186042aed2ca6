"""What is an adapter, what is cut, and when has it changed?"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.folder import CONFIG, WEIGHTS, check_weights, fingerprint, parse_config, read_adapter
from router.errors import EngineError
from tests.support.lora import adapter_config, write_adapter

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_a_complete_adapter_says_its_rank_and_its_base(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "orders", 1, rank=8, base_model_name_or_path="owner/model")
    assert read_adapter(folder) == (8, "owner/model")


def test_the_rank_is_that_of_the_widest_layer() -> None:
    config = adapter_config(8, rank_pattern={"q_proj": 24, "v_proj": 4})
    assert parse_config(json.dumps(config).encode()).rank == 24
    assert parse_config(b'{"r": 4, "rank_pattern": null}').rank == 4, "old versions of PEFT write less"


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (b"{", "adapter_config.json is not valid JSON"),
        (b"\xff", "adapter_config.json is not valid JSON"),
        (b"[" * 100_000, "adapter_config.json is not valid JSON"),
        (b"[]", "adapter_config.json: expected an object"),
        (b'{"peft_type": "IA3", "r": 8}', "adapter_config.json: peft_type: expected LORA, got 'IA3'"),
        (b"{}", "expected ranks in `r` and `rank_pattern`: whole numbers above 0"),
        (b'{"r": 0}', "whole numbers above 0"),
        (b'{"r": true}', "whole numbers above 0"),
        (b'{"r": 8, "rank_pattern": {"q": "8"}}', "whole numbers above 0"),
        (b'{"r": 8, "rank_pattern": [8]}', "whole numbers above 0"),
    ],
)
def test_a_wrong_configuration_says_what_is_wrong(config: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(CONFIG)) as caught:
        parse_config(config)
    assert says in str(caught.value)


@given(JSON, st.dictionaries(st.sampled_from(["r", "rank_pattern", "peft_type", "base_model_name_or_path"]), JSON))
def test_any_configuration_is_read_or_refused(anything: Any, keys: dict[str, Any]) -> None:
    for config in (anything, keys):
        content = json.dumps(config).encode()
        try:
            rank = parse_config(content).rank
        except ValueError:
            with pytest.raises(ValueError, match=f"^{re.escape(CONFIG)}"):
                parse_config(content)
        else:
            assert rank > 0


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_cut_weights_are_recognised(tmp_path: Path, kept: int) -> None:
    folder = write_adapter(tmp_path / "orders", 1)
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(EngineError, match=WEIGHTS) as caught:
        read_adapter(folder)
    assert str(folder) in str(caught.value)


@given(st.binary(max_size=200), JSON)
def test_any_weights_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, end: bytes, header: Any) -> None:
    file = tmp_path_factory.mktemp("weights") / WEIGHTS
    written = json.dumps(header).encode()
    for content in (end, len(written).to_bytes(8, "little") + written + end):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=WEIGHTS):
            check_weights(file)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no such folder"):
        read_adapter(tmp_path / "absent")
    folder = write_adapter(tmp_path / "orders", 1)
    (folder / WEIGHTS).unlink()
    with pytest.raises(EngineError, match=f"{WEIGHTS}: no such file; an adapter has {CONFIG} and {WEIGHTS}"):
        read_adapter(folder)
    (folder / CONFIG).unlink()
    (folder / CONFIG).mkdir()
    with pytest.raises(EngineError, match=f"{CONFIG}: Is a directory"):
        read_adapter(folder)


def test_the_fingerprint_differs_when_a_file_does(tmp_path: Path) -> None:
    folder = write_adapter(tmp_path / "orders", 1)
    before = fingerprint(folder)
    assert before == fingerprint(folder)
    os.utime(folder / WEIGHTS, ns=(1, 1))
    after = fingerprint(folder)
    assert after != before
    copy = (folder / CONFIG).read_bytes()
    (folder / "new").write_bytes(copy)
    (folder / "new").replace(folder / CONFIG)
    assert fingerprint(folder) != after, "another file of the same size"
    (folder / WEIGHTS).unlink()
    assert fingerprint(folder) is None
