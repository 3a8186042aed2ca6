from __future__ import annotations

import pwd
import tempfile
from pathlib import Path

import pytest

from server.processes import account
from server.processes.account import default_state_dir, engine_variables, has_account, temporary_state_dir


@pytest.fixture
def no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.os, "getuid", lambda: 1_000_660_000)

    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(account.pwd, "getpwuid", unknown)


def test_a_user_with_an_account_and_a_home_lacks_nothing(tmp_path: Path) -> None:
    assert has_account()
    assert engine_variables({"HOME": str(tmp_path)}, tmp_path / "state") == {}
    assert default_state_dir({"HOME": "/home/ada"}) == Path("/home/ada/.local/state/smallfirst")


@pytest.mark.usefixtures("no_account")
def test_a_user_without_an_account_gets_a_name_and_a_home(tmp_path: Path) -> None:
    """As containers run under a random id: no name, and no home, or one that only root can write to."""
    home = str(tmp_path / "state" / "home")
    for env in ({}, {"HOME": ""}, {"HOME": str(tmp_path / "absent")}):
        wanted = {"LOGNAME": "uid-1000660000", "USER": "uid-1000660000", "HOME": home}
        assert engine_variables(env, tmp_path / "state") == wanted
    assert engine_variables({"HOME": str(tmp_path), "USER": "ada"}, tmp_path) == {"LOGNAME": "ada", "USER": "ada"}


@pytest.mark.usefixtures("no_account")
def test_its_state_is_temporary_where_it_has_no_home(tmp_path: Path) -> None:
    assert default_state_dir({}) == temporary_state_dir() == Path(tempfile.gettempdir(), "smallfirst-1000660000")
    assert default_state_dir({"HOME": "/absent"}) == temporary_state_dir()
    assert default_state_dir({"HOME": str(tmp_path)}) == tmp_path / ".local" / "state" / "smallfirst"
    assert default_state_dir({"XDG_STATE_HOME": "/var"}) == Path("/var/smallfirst")


def test_a_home_that_cannot_be_written_keeps_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.os, "access", lambda *_: False)
    weights = tmp_path / ".cache" / "huggingface"
    weights.mkdir(parents=True)
    variables = engine_variables({"HOME": str(tmp_path)}, Path("/state"))
    assert variables == {"HOME": "/state/home", "HF_HOME": str(weights)}
