"""The documentation names no file of the repository that does not exist."""

from __future__ import annotations

import os
import re
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    file
    for pattern in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", "docs/**/*.md")
    for file in ROOT.glob(pattern)
)
SUFFIXES = "py|md|yaml|yml|json|toml|sh|txt|in|svg|png"
NOT_OURS = {"adapter_config.json", "evidence.json"}
"""names of files that a user makes"""

LINK = re.compile(r"\]\(([^()\s\\]+)\)")
MENTION = re.compile(rf"(?<![\w/.~$}}:-])((?:[\w.*-]+/)*[\w.*-]+\.(?:{SUFFIXES}))(?![\w/-])")
CODE = re.compile(r"``.*?``|`[^`\n]*`")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@cache
def files() -> frozenset[str]:
    """Return the path of every file of the repository."""
    found = set()
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name == ".ci" or not name.startswith((".", "__pycache__"))]
        found.update(str(Path(folder, name).relative_to(ROOT)) for name in names)
    return frozenset(found)


def exists(name: str, page: Path) -> bool:
    """Return whether a file has this path: from the root, from the page, or as the end of a longer path."""
    beside = os.path.normpath(page.parent.relative_to(ROOT) / name)
    return any(fnmatch(file, name) or fnmatch(file, beside) or fnmatch(file, f"*/{name}") for file in files())


def anchors(page: Path) -> set[str]:
    """Return the fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(CODE.sub("", FENCE.sub("", page.read_text(encoding="utf-8")))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (fragment and file.suffix == ".md" and fragment not in anchors(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_exists(page: Path) -> None:
    """In the text; commands and examples in fenced blocks may name a user's files."""
    text = LINK.sub("]", FENCE.sub("", page.read_text(encoding="utf-8")))
    named = {name for name in MENTION.findall(text) if name not in NOT_OURS}
    assert not sorted(name for name in named if not exists(name, page))
