"""The logs and the private folder of a replica."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from router.engine import paths
from router.engine.paths import (
    failure_reason,
    limit_log_size,
    log_file,
    log_folder,
    read_failure_reason,
    rotate_log,
    runtime_folder,
)

OTHER_GATEWAY = """
import pathlib, sys
from router.engine.paths import log_file
print(log_file(pathlib.Path(sys.argv[1]), "tiny", "0"), flush=True)
sys.stdin.read()
"""


def test_no_two_models_share_a_log(tmp_path: Path) -> None:
    names = ["a/b", "a:b", "a_b", "a.b", "a-b", "a/0", "a"]
    files = {log_file(tmp_path, name, part) for name in names for part in ("0", "1", "fetch", "convert")}
    assert len(files) == len(names) * 4
    assert {file.parent for file in files} == {tmp_path / "logs"}
    log_file(tmp_path, "a/" * 63 + "ab", "convert").touch()  # the longest name


def test_gateways_with_one_state_folder_share_no_log_and_leave_no_more_folders_than_there_were_gateways(
    tmp_path: Path,
) -> None:
    first = log_file(tmp_path, "tiny", "0")
    for _ in range(3):  # one after the other
        other = subprocess.Popen(
            [sys.executable, "-c", OTHER_GATEWAY, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        output, _ = other.communicate("")
        assert Path(output.strip()) == tmp_path / "logs-2" / "tiny-0.log" != first
    assert log_file(tmp_path, "tiny", "0") == first
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["logs", "logs-2"]


def test_a_gateway_that_ended_leaves_its_logs_to_the_next(tmp_path: Path) -> None:
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", OTHER_GATEWAY, str(tmp_path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert Path(done.stdout.strip()) == tmp_path / "logs" / "tiny-0.log"


def test_a_file_system_without_locks_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(paths.fcntl, "flock", none)
    assert log_folder(tmp_path) == tmp_path / "logs"


def test_a_log_that_cannot_be_put_aside_is_emptied_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "MAX_LOG_BYTES", 10)
    path = tmp_path / "log"
    path.write_bytes(b"x" * 11)
    Path(f"{path}.1").mkdir()
    with pytest.raises(OSError, match="directory"):
        limit_log_size(path)
    assert path.read_bytes() == b""


def test_a_log_that_is_gone_has_no_last_words(tmp_path: Path) -> None:
    assert read_failure_reason(tmp_path / "gone") == ""


def test_a_socket_fits_into_the_private_folder_wherever_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    (tmp_path / ("x" * 100)).mkdir()
    assert len(str(runtime_folder() / ("u" * 36))) <= 107
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run")
    monkeypatch.setattr(paths.os, "access", lambda *_: True)
    assert runtime_folder().parent == Path("/run")
    assert runtime_folder() != runtime_folder()


def test_the_log_of_the_last_start_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "tiny-0.log"
    rotate_log(path).write_text("first")
    rotate_log(path).write_text("second")
    assert (path.read_text(), Path(f"{path}.1").read_text()) == ("second", "first")


def test_a_log_that_grows_too_long_starts_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "MAX_LOG_BYTES", 10)
    path = tmp_path / "log"
    with path.open("ab", buffering=0) as file:
        file.write(b"0123456789")
        limit_log_size(path)
        assert path.stat().st_size == 10
        file.write(b"x")
        limit_log_size(path)
        file.write(b"next")
    assert path.read_bytes() == b"next"
    assert Path(f"{path}.1").read_bytes() == b"0123456789x"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ""),
        ("starting\nbye\n\n", "bye"),
        (
            "(EngineCore pid=7) ERROR 11-23 08:00:00 [core.py:9] Traceback (most recent call last):\n"
            "(EngineCore pid=7) ERROR 11-23 08:00:00 [core.py:9] torch.OutOfMemoryError: CUDA out of memory: 2 GiB\n"
            "(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above.\n",
            "torch.OutOfMemoryError: CUDA out of memory: 2 GiB",
        ),
        ("usage: api_server.py\napi_server.py: error: unrecognized arguments: --x\n",
         "api_server.py: error: unrecognized arguments: --x"),
    ],
)  # fmt: skip
def test_last_words_name_the_cause(text: str, words: str) -> None:
    assert failure_reason(text) == words
