from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from router.errors import ConfigError
from server.settings import MIN_KEY_LENGTH, Settings, add_arguments

HOME = {"HOME": "/home/ada"}
KEY = "sk-canary-0123456789"


def refused(env: dict[str, str], flags: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        Settings.from_env(HOME | env, flags or {})
    return str(caught.value)


def shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def test_defaults() -> None:
    settings = Settings.from_env(HOME, {})
    assert settings == Settings(state_dir=Path("/home/ada/.local/state/smallfirst"))
    assert (settings.host, settings.port, settings.max_body_bytes) == ("127.0.0.1", 8000, None)
    assert (settings.max_in_flight, settings.max_queued) == (256, 1024)
    assert (settings.queue_timeout_s, settings.shutdown_grace_s) == (30.0, 30.0)


def test_every_setting_has_a_variable_and_a_flag_that_wins() -> None:
    values = {
        "host": ("localhost", "::1"),
        "port": ("1", "2"),
        "workers": ("2", "3"),
        "state_dir": ("/from/env", "/from/flag"),
        "max_body_bytes": ("3", "4"),
        "max_in_flight": ("5", "6"),
        "max_queued": ("0", "8"),
        "queue_timeout_s": ("0.5", "1.5"),
        "shutdown_grace_s": ("2.5", "3.5"),
        "warm_start": ("False", "True"),
        "both_reasoning_names": ("True", "False"),
        "cors_origins": ("https://a.example,http://localhost:3000", "app://obsidian.md"),
    }
    assert set(values) == set(Settings.__dataclass_fields__) - {"api_keys"}  # keys would show in `ps`
    env = {f"SMALLFIRST_{name.upper()}": variable for name, (variable, _) in values.items()}
    from_env = Settings.from_env(env, {})
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    flags = [part for name, (_, flag) in values.items() for part in (f"--{name.replace('_', '-')}", flag)]
    from_flags = Settings.from_env(env, vars(parser.parse_args(flags)))
    for name, (variable, flag) in values.items():
        assert shown(getattr(from_env, name)) == variable
        assert shown(getattr(from_flags, name)) == flag


def test_help_names_variable_and_default() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    text = " ".join(parser.format_help().split())
    assert "[SMALLFIRST_MAX_BODY_BYTES] (default: 16777216; 67108864 if a model takes images)" in text
    assert "SMALLFIRST_STATE_DIR" in text
    assert "factory" not in text  # a default that is no value


def test_flags_that_are_no_setting_are_passed_over() -> None:
    assert Settings.from_env(HOME, {"config": Path("models.yaml"), "port": None}).port == 8000


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("port", "http", "a port, 0 to 65535"),
        ("port", "65536", "a port, 0 to 65535"),
        ("port", "-1", "a port, 0 to 65535"),
        ("workers", "0", "a whole number from 1 to 64"),
        ("workers", "65", "a whole number from 1 to 64"),
        ("workers", "two", "a whole number from 1 to 64"),
        ("max_in_flight", "0", "a whole number from 1"),
        ("max_queued", "-1", "a whole number from 0"),
        ("max_body_bytes", "32MiB", "a whole number from 1"),
        ("queue_timeout_s", "0", "seconds, more than 0"),
        ("queue_timeout_s", "inf", "seconds, more than 0"),
        ("shutdown_grace_s", "nan", "seconds, more than 0"),
        ("host", " ", "a host name or an address"),
        ("state_dir", "", "a folder"),
    ],
)
def test_a_wrong_value_names_its_source_and_what_was_expected(name: str, value: str, expected: str) -> None:
    variable, flag = f"SMALLFIRST_{name.upper()}", f"--{name.replace('_', '-')}"
    assert refused({variable: value}) == f"{variable}: expected {expected}, got {value!r}"
    assert refused({}, {name: value}) == f"{flag}: expected {expected}, got {value!r}"


def test_more_workers_than_slots_name_both_flags() -> None:
    message = refused({"SMALLFIRST_WORKERS": "3"}, {"max_in_flight": "2"})
    assert message.startswith("--workers 3 is more than --max-in-flight 2: ")


@given(st.integers(1, 64), st.integers(0, 1000), st.integers(0, 1000))
def test_the_workers_parts_add_up_and_differ_by_one_at_most(workers: int, more: int, queued: int) -> None:
    settings = Settings(state_dir=Path(), workers=workers, max_in_flight=workers + more, max_queued=queued)
    slots, places = zip(*(settings.slots(worker) for worker in range(workers)), strict=True)
    assert (sum(slots), sum(places)) == (workers + more, queued)
    assert max(slots) - min(slots) <= 1
    assert max(places) - min(places) <= 1
    assert min(slots) >= 1


def test_state_dir_follows_xdg() -> None:
    assert Settings.from_env({"XDG_STATE_HOME": "/x"}, {}).state_dir == Path("/x/smallfirst")
    relative = HOME | {"XDG_STATE_HOME": "x"}
    assert Settings.from_env(relative, {}).state_dir == Path("/home/ada/.local/state/smallfirst")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "localhost", "LOCALHOST"])
def test_without_keys_loopback_is_served(host: str) -> None:
    assert Settings.from_env(HOME, {"host": host}).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "gateway.example.com", "localhost.example.com", "1"])
def test_without_keys_no_other_bind_is_served(host: str) -> None:
    message = refused({}, {"host": host})
    assert host in message
    assert "set SMALLFIRST_API_KEYS" in message
    assert Settings.from_env(HOME | {"SMALLFIRST_API_KEYS": KEY}, {"host": host}).host == host


def test_keys_are_stripped_and_never_shown() -> None:
    settings = Settings.from_env(HOME | {"SMALLFIRST_API_KEYS": f" {KEY} , {KEY}-2\n"}, {})
    assert [key.get_secret_value() for key in settings.api_keys] == [KEY, f"{KEY}-2"]
    assert KEY not in f"{settings!r} {settings}"


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_no_keys(text: str) -> None:
    assert Settings.from_env(HOME | {"SMALLFIRST_API_KEYS": text}, {}).api_keys == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{KEY},", "key 2 of 2 is empty"),
        (f",{KEY}", "key 1 of 2 is empty"),
        (f"{KEY},hunter2", f"key 2 of 2 is too short; expected at least {MIN_KEY_LENGTH}"),
        (f"{KEY} {KEY}", "key 1 of 1 does not fit an HTTP header"),
        ("schlüssel-wort", "key 1 of 1 does not fit an HTTP header"),
    ],
)
def test_a_wrong_key_is_named_by_its_place(text: str, expected: str) -> None:
    message = refused({"SMALLFIRST_API_KEYS": text})
    assert message.startswith(f"SMALLFIRST_API_KEYS: {expected}")
    assert not any(part in message for part in text.split(",") if part)


@given(st.lists(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=","), min_size=8)))
def test_good_keys_come_through(keys: list[str]) -> None:
    settings = Settings.from_env(HOME | {"SMALLFIRST_API_KEYS": ",".join(keys)}, {})
    assert settings.api_keys == tuple(map(SecretStr, keys))


@pytest.mark.parametrize(
    "origins",
    [
        "https://a.example/",
        "https://a.example/app",
        "a.example",
        "https://*.example",
        "null",
        "https://a b",
        "https://",
    ],
)
def test_an_origin_is_what_a_browser_sends(origins: str) -> None:
    assert "--cors-origins: expected origins such as" in refused({}, {"cors_origins": origins})


def test_origins_are_split_and_written_as_browsers_write_them() -> None:
    settings = Settings.from_env(HOME | {"SMALLFIRST_CORS_ORIGINS": " https://A.example , http://[::1]:3000,"}, {})
    assert settings.cors_origins == ("https://a.example", "http://[::1]:3000")
    assert Settings.from_env(HOME | {"SMALLFIRST_CORS_ORIGINS": ""}, {}).cors_origins == ()


def test_every_origin_needs_client_keys() -> None:
    message = refused({"SMALLFIRST_CORS_ORIGINS": "*"})
    assert "any web page" in message
    assert "SMALLFIRST_API_KEYS" in message
    settings = Settings.from_env(HOME | {"SMALLFIRST_CORS_ORIGINS": "*", "SMALLFIRST_API_KEYS": KEY}, {})
    assert settings.cors_origins == ("*",)
