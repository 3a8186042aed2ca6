"""Copies of an adapter: named by content, kept while they are used."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from router.adapters import version
from router.adapters.folder import CONFIG, WEIGHTS
from router.adapters.version import copy_version, remove_unused
from router.errors import EngineError
from tests.support.lora import write_adapter


def test_a_copy_is_named_by_its_content(tmp_path: Path) -> None:
    source, store = write_adapter(tmp_path / "orders", 1), tmp_path / "store"
    one, again = copy_version(source, store), copy_version(source, store)
    other = copy_version(write_adapter(tmp_path / "tickets", 2), store)
    assert (one.folder, one.id) == (again.folder, again.id)
    assert one.id == int(one.folder.name, 16) > 0
    assert one.id != other.id
    assert sorted(os.listdir(store)) == sorted({one.folder.name, other.folder.name})
    assert sorted(os.listdir(one.folder)) == [CONFIG, WEIGHTS]
    for each in (one, again, other):
        each.close()


def test_a_copy_stays_as_it_is_when_its_source_is_overwritten(tmp_path: Path) -> None:
    source = write_adapter(tmp_path / "orders", 1)
    before = (source / WEIGHTS).read_bytes()
    one = copy_version(source, tmp_path / "store")
    write_adapter(source, 2)
    assert (one.folder / WEIGHTS).read_bytes() == before != (source / WEIGHTS).read_bytes()
    one.close()


def test_a_change_of_the_configuration_is_another_version(tmp_path: Path) -> None:
    source, store = write_adapter(tmp_path / "orders", 1), tmp_path / "store"
    versions = [copy_version(source, store), copy_version(write_adapter(source, 1, lora_alpha=32), store)]
    assert versions[0].id != versions[1].id
    for each in versions:
        each.close()


def test_what_is_used_is_not_removed(tmp_path: Path) -> None:
    source, store = write_adapter(tmp_path / "orders", 1), tmp_path / "store"
    of_one_gateway, of_another = copy_version(source, store), copy_version(source, store)
    (store / "new-left-behind").mkdir()
    remove_unused(store)
    assert os.listdir(store) == [of_one_gateway.folder.name]
    of_one_gateway.close()
    remove_unused(store)
    assert os.listdir(store) == [of_another.folder.name]
    of_another.close()
    remove_unused(store)
    assert os.listdir(store) == []


def test_an_incomplete_adapter_leaves_nothing(tmp_path: Path) -> None:
    source, store = write_adapter(tmp_path / "orders", 1), tmp_path / "store"
    (source / WEIGHTS).write_bytes(b"cut")
    with pytest.raises(EngineError, match=WEIGHTS):
        copy_version(source, store)
    assert not store.exists()


def test_a_change_while_it_is_copied_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, store = write_adapter(tmp_path / "orders", 1), tmp_path / "store"
    copyfile = shutil.copyfile

    def copy_and_change(read: Path, written: Path) -> Any:
        copyfile(read, written)
        write_adapter(source, 2)

    monkeypatch.setattr(version.shutil, "copyfile", copy_and_change)
    with pytest.raises(EngineError, match="changed while it was copied"):
        copy_version(source, store)
    assert os.listdir(store) == []
