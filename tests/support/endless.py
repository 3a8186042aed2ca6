"""Streams of an upstream that does not end, or that ends as it should, and what a client reads of them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.fakes import DONE, ROLE, chunk, streams, usage_chunk

USAGE = usage_chunk()


def streamed(*pieces: str, finish: str = "stop") -> Any:
    return streams([[ROLE], *([chunk(piece)] for piece in pieces), [chunk(finish=finish)], [USAGE, DONE]])


def endless(piece: str = "ha", pieces: int = 100_000) -> Any:
    return streams([[ROLE], [chunk('["')], *[[chunk(piece)]] * pieces])


def body_of(got: list[bytes]) -> Any:
    return json.loads(got[0])


def content(got: list[bytes]) -> Any:
    return body_of(got)["choices"][0]["message"]["content"]
