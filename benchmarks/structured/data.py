"""The public data for the measurements: real JSON schemas with instances, and function-calling tasks."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMAS, TASKS = "schemas.jsonl.gz", "bfcl.jsonl"
HOW_TO_GET = f"""\
--data DIR is a folder with two files of JSON Lines, each made of public data:
  {SCHEMAS}: schemas of JSONSchemaBench (github.com/guidance-ai/jsonschemabench, maskbench/data/*.json), a line each:
    id, subset, schema, tests (a list of data and rs: whether jsonschema-rs, with format checks, finds it valid)
  {TASKS}: tasks of the Berkeley Function-Calling Leaderboard v4 (github.com/ShishirPatil/gorilla,
    berkeley-function-call-leaderboard/bfcl_eval/data), in OpenAI's form, a line each: id, category, messages, tools,
    name_map (tool -> original name), ground_truth, expect_call, gt_first_valid"""


class NoData(Exception):
    """The data is missing; the message says what is missing and how to get it."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One JSON value, and whether it satisfies its schema."""

    text: str
    valid: bool | None
    """None: unknown, because jsonschema-rs cannot compile the schema"""


@dataclass(frozen=True, slots=True)
class SchemaTask:
    """One real schema."""

    id: str
    subset: str
    schema: dict[str, Any]
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class ToolTask:
    """One question that needs function calls, or that needs none."""

    id: str
    category: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    name_map: dict[str, str]
    truth: list[dict[str, dict[str, list[Any]]]] | None
    """the right calls: original name, then the accepted values of each argument; None: unknown"""
    expect_call: bool
    scored: bool
    """False: the right call itself violates the tool's schema, so it does not count whether a call satisfies it"""


def schema_tasks(folder: Path | None) -> list[SchemaTask]:
    """Read the schemas.

    Raises:
        NoData: there are none.
    """
    return [
        SchemaTask(
            row["id"],
            row["subset"],
            row["schema"],
            tuple(Instance(json.dumps(test["data"], ensure_ascii=False), test.get("rs")) for test in row["tests"]),
        )
        for row in _rows(folder, SCHEMAS)
    ]


def tool_tasks(folder: Path | None) -> list[ToolTask]:
    """Read the function-calling tasks.

    Raises:
        NoData: there are none.
    """
    return [
        ToolTask(
            row["id"],
            row["category"],
            row["messages"],
            row["tools"],
            row["name_map"],
            row["ground_truth"],
            row["expect_call"],
            row["gt_first_valid"] is not False,
        )
        for row in _rows(folder, TASKS)
    ]


def _rows(folder: Path | None, name: str) -> Iterator[dict[str, Any]]:
    if folder is None or not (folder / name).is_file():
        where = f"{folder / name} is not there" if folder else "no --data folder is given"
        raise NoData(f"{where}.\n{HOW_TO_GET}")
    content = (folder / name).read_bytes()
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode()
    # not splitlines(): some texts hold other line separators of Unicode
    return (json.loads(line) for line in text.split("\n") if line)
