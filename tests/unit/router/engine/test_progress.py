"""What a starting engine is doing, from what it has logged."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.engine.progress import VLLM_STAGES, Stages, stage_of
from router.engine.transformers_launch import STAGES as TRANSFORMERS_STAGES


def test_an_empty_log_means_that_the_code_is_loading() -> None:
    assert stage_of("") == VLLM_STAGES.first


@pytest.mark.parametrize("stages", [VLLM_STAGES, TRANSFORMERS_STAGES])
def test_each_message_begins_its_stage(stages: Stages) -> None:
    log = ""
    told = [stage_of(log, stages)]
    for words, _ in stages.later:
        log += f"(EngineCore pid=12) INFO 11-28 07:55:05 [core.py:133] {words} and more\n"
        told.append(stage_of(log, stages))
    assert all(earlier != later for earlier, later in pairwise(told))


def test_files_of_weights_are_counted() -> None:
    log = "Starting to load model /models/x...\n"
    for done in (0, 1):
        log += f"Loading safetensors checkpoint shards:  {done * 50}% Completed | {done}/2 [00:00<?, ?it/s]\n"
        assert stage_of(log) == f"loading the weights, {done} of 2 files"
    assert stage_of(log + "Loading weights took 1.2 seconds") == "measuring the memory for the KV cache"


@given(st.text())
def test_any_text_has_a_stage(log: str) -> None:
    assert stage_of(log)
