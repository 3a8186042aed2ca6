"""Writes the folders of tiny models: real architecture, the family's own tokens and template, random weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from router.engine.source import PackageFile
from tests.families.entries import TEMPLATES, Family
from tests.families.real_tokenizer import read_tokenizer
from tests.families.tiny_tokenizer import tiny_tokenizer, write_tokenizer
from tests.support.gateway import ROOT


def write_models(families: Iterable[Family], folder: Path, *, weights: bool = True) -> dict[str, Path]:
    """Write a folder for each family, by name. Without weights they are of use for parsers and templates alone."""
    folders = {family.name: write_model(family, folder / family.name) for family in families}
    if weights:
        command = (sys.executable, "-m", "tests.families.random_weights", *map(str, folders.values()))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folders


def write_model(family: Family, folder: Path) -> Path:
    """Write all but the weights."""
    folder.mkdir(parents=True)
    template = folder / "chat_template.jinja"
    if isinstance(family.template, PackageFile):
        tokenizer, text = read_tokenizer(family.template)
        template.write_text(text, encoding="utf-8")
    else:
        tokenizer = tiny_tokenizer(family.tokens)
        shutil.copy(TEMPLATES / f"{family.template}.jinja", template)
    ids = write_tokenizer(tokenizer, family.tokens, folder)
    config = family.architecture(ids)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    ends = {"eos_token_id": ids.ends, "pad_token_id": ids.pad, "bos_token_id": ids.begin}
    (folder / "generation_config.json").write_text(json.dumps(ends), encoding="utf-8")
    return folder
