"""Swap groups, idle times and hours in models.yaml: what is accepted, and what each mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from router.config.models import Config
from router.errors import ConfigError
from router.load_config import load

MODELS = """\
models:
  a: {tier: slm, engine: vllm, source: o/a, hours: "22:00-06:00 Europe/Madrid"}
  b: {tier: slm, engine: vllm, source: o/b, timeouts: {load_s: 60, drain_s: 10}}
  c: {tier: slm, engine: vllm, source: o/c, idle_minutes: 15}
  far: {tier: llm, engine: openai, base_url: http://host/v1, hours: "Mon-Fri 20:00-08:00 UTC"}
"""


def read(folder: Path, text: str) -> Config:
    file = folder / "models.yaml"
    file.write_text(text)
    return load(file, {}, gpu=False)


def test_a_group_is_read(tmp_path: Path) -> None:
    config = read(tmp_path, MODELS + "swap: {small: {models: [a, b], turn_s: 30}}")
    group = config.swap["small"]
    assert (group.models, group.keep, group.turn_s) == (("a", "b"), 1, 30.0)
    assert config.on_demand == {"a", "b", "c"}
    hours = config.models["a"].timetable
    assert hours is not None
    assert str(hours.zone) == "Europe/Madrid"
    assert config.models["b"].timetable is None


def test_a_member_that_is_left_out_here_does_not_count(tmp_path: Path) -> None:
    needs_gpu = MODELS.replace("source: o/a,", "source: o/a, requires: {gpu: true},")
    config = read(tmp_path, needs_gpu + "swap: {small: {models: [a, b]}}")
    assert config.on_demand == {"b", "c"}


@pytest.mark.parametrize(
    ("swap", "message"),
    [
        ("{g: {models: [a, bb]}}", r"models.yaml:6: swap.g.models\[1\]: unknown model; did you mean 'b'\?, got 'bb'"),
        ("{g: {models: [a, other]}}", r"swap.g.models\[1\]: unknown model; expected a name of `models`, got 'other'"),
        ("{g: {models: [a, far]}}", r"swap.g.models\[1\]: expected a model with `source`: .*, got 'far'"),
        (
            "{g: {models: [a, b, a], keep: 2}}",
            r"swap.g.models\[2\]: expected each model in one group, once; it is in 'g' already, got 'a'",
        ),
        (
            "{g: {models: [a, b]}, h: {models: [b, c]}}",
            r"swap.h.models\[0\]: expected each model in one group, once; it is in 'g' already, got 'b'",
        ),
        (
            "{g: {models: [a, b], keep: 2}}",
            r"swap.g.keep: `keep`: expected fewer than the 2 `models` of the group, got 2",
        ),
        ("{g: {models: [a]}}", r"swap.g: `keep`: expected fewer than the 1 `models` of the group"),
        ("{g: {models: [a, b], keep: 0}}", r"swap.g.keep: expected greater than or equal to 1, got 0"),
        ("{g: {models: [a, b], turn_s: 0}}", r"swap.g.turn_s: expected greater than 0"),
        ("{g: {models: a}}", r"swap.g.models: expected a list"),
        ("{g: {keep: 1}}", r"swap.g.models: missing"),
        (
            "{g: {models: [a, b], kep: 1}}",
            r"swap.g.kep: unknown key; did you mean 'keep'\?; expected one of keep",
        ),
        ("{g: [a, b]}", r"swap.g: expected a mapping"),
        ("[a, b]", r"swap: expected a mapping"),
    ],
)
def test_a_group_that_cannot_be_meant_is_refused(tmp_path: Path, swap: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, f"{MODELS}swap: {swap}")


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("idle_minutes: 15", "idle_minutes: 0", r"models.c.idle_minutes: expected greater than 0, got 0"),
        ("idle_minutes: 15", "timeouts: {load_s: 1}", r"models.c.timeouts.load_s: only for models of a `swap` group"),
        ("idle_minutes: 15", "timeouts: {drain_s: 1}", r"models.c.timeouts.drain_s: only for models of a `swap` group"),
        ("base_url: http://host/v1", "base_url: http://host/v1, idle_minutes: 1", "`idle_minutes` is only for models"),
        ("22:00-06:00 Europe/Madrid", "22-6 UTC", r"models.yaml:2: models.a.hours: '22-6' is not a range of hours"),
        (
            "22:00-06:00 Europe/Madrid",
            "22:00-06:00, 12:00-12:01 UTC",
            r"models.a: `timeouts.drain_s` .* 60 s; it is 60 s",
        ),
        ("22:00-06:00 Europe/Madrid", "22:00-06:00 Madrid", r"models.a.hours: unknown time zone 'Madrid'"),
    ],
)
def test_a_key_that_cannot_be_meant_is_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, MODELS.replace(before, after) + "swap: {g: {models: [a, b]}}")


def test_a_model_with_hours_may_have_a_drain_time(tmp_path: Path) -> None:
    text = MODELS.replace('Europe/Madrid"', 'Europe/Madrid", timeouts: {drain_s: 5}').replace(
        "load_s: 60, drain_s: 10", ""
    )
    assert read(tmp_path, text).models["a"].timeouts.drain_s == 5.0
