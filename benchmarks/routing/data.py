"""Results of real model pairs, a JSON line for each call: the prompt, and the quality and cost of each model's answer.

Every line has `id` and `prompt`, and may have `system`. Then it has either the qualities `weak` and `strong` (0 to 1),
or `models: {name: {correct or score, cost (dollars), logconf}}`, from which a pair is chosen. `logconf` is the log of
the model's confidence in its own answer: null is minus infinity, and a missing key means that it is unknown. In a
line with `weak`, `agree` is the share of the small model's samples that agree with its answer, which is also a
confidence. Lines with `contaminated: 1` are left out.
"""

from __future__ import annotations

import gzip
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

GZIP = b"\x1f\x8b"


class NoData(Exception):
    """The data cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One call, and the result of each model."""

    id: str
    prompt: str
    system: str
    task: str
    """the kind of call in the data; policies do not see it"""
    weak: float
    strong: float
    """quality of the answers, 0 to 1"""
    weak_usd: float | None = None
    strong_usd: float | None = None
    """None: unknown"""
    logconf: float | None = None
    """log of the weak model's confidence in its answer; None: minus infinity, or unknown"""
    has_confidence: bool = False

    @property
    def text(self) -> str:
        """Return all that the model reads."""
        return f"{self.system}\n\n{self.prompt}" if self.system else self.prompt

    @property
    def gain(self) -> float:
        """Return the quality gained by asking the strong model, -1 to 1."""
        return self.strong - self.weak


def load(path: Path) -> list[dict[str, Any]]:
    """Read JSON Lines, gzipped or not.

    Raises:
        NoData: it cannot be read, or it has no objects.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if content.startswith(GZIP) else content).decode()
        # not splitlines(): some texts hold other line separators of Unicode
        raw = [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        raise NoData(f"{path}: {error}") from None
    if not raw or not all(isinstance(row, dict) for row in raw):
        raise NoData(f"{path}: a JSON object is needed on each line")
    return raw


def rows(raw: Iterable[Mapping[str, Any]], weak: str | None, strong: str | None) -> list[Row]:
    """Return the rows of a pair of models, without those that are contaminated or lack one of the models.

    Args:
        raw: what `load` read.
        weak: the small model's name; None: the cheapest on average, or the worst if there are no prices.
        strong: the large model's name; None: the best.

    Raises:
        NoData: no row has both models.
    """
    clean = [row for row in raw if not row.get("contaminated")]
    names = pair(clean, weak, strong)
    found = [row for place, one in enumerate(clean) if (row := _row(one, place, *names)) is not None]
    if not found:
        known = sorted({name for row in clean for name in row.get("models") or ()})
        raise NoData(f"no row has {names[0]!r} and {names[1]!r}; the data know {', '.join(known) or 'no models'}")
    return found


def pair(raw: Sequence[Mapping[str, Any]], weak: str | None, strong: str | None) -> tuple[str, str]:
    """Return the names of the two models; those that are None are chosen from the data."""
    quality, usd = averages(raw)
    if strong is None:
        strong = max((name for name in quality if name != weak), key=quality.__getitem__, default="strong")
    if weak is None:
        rest = [name for name in quality if name != strong]
        weak = min(rest, key=lambda name: (usd.get(name, 0.0), quality[name]), default="weak")
    return weak, strong


def averages(raw: Iterable[Mapping[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return each model's mean quality, and its mean dollars per call if prices are known."""
    quality: dict[str, list[float]] = {}
    usd: dict[str, list[float]] = {}
    for row in raw:
        for name, result in (row.get("models") or {}).items():
            if (value := _quality(result)) is not None:
                quality.setdefault(name, []).append(value)
            if (cost := _number(result.get("cost"))) is not None:
                usd.setdefault(name, []).append(cost)
    return ({name: fmean(values) for name, values in quality.items()}, {name: fmean(v) for name, v in usd.items()})


def _row(raw: Mapping[str, Any], place: int, weak: str, strong: str) -> Row | None:
    models = raw.get("models")
    if isinstance(models, Mapping):
        one, other = models.get(weak) or {}, models.get(strong) or {}
    else:
        confidence = {"logconf": raw["logconf"]} if "logconf" in raw else _of_agreement(raw.get("agree"))
        one = {"score": raw.get("weak"), "cost": raw.get("weak_cost"), **confidence}
        other = {"score": raw.get("strong"), "cost": raw.get("strong_cost")}
    of_weak, of_strong = _quality(one), _quality(other)
    prompt = raw.get("prompt")
    if of_weak is None or of_strong is None or not isinstance(prompt, str):
        return None
    return Row(
        id=str(raw.get("id", place)),
        prompt=prompt,
        system=str(raw.get("system") or ""),
        task=task(raw),
        weak=of_weak,
        strong=of_strong,
        weak_usd=_number(one.get("cost")),
        strong_usd=_number(other.get("cost")),
        logconf=_number(one.get("logconf")),
        has_confidence="logconf" in one,
    )


def task(raw: Mapping[str, Any]) -> str:
    """Return the kind of a row: the one it names, or the beginning of its id (`mmlu/marketing/49`: mmlu)."""
    named = raw.get("task") or raw.get("dataset") or raw.get("eval")
    return str(named) if named else re.split(r"[./]", str(raw.get("id", "")), maxsplit=1)[0]


def _quality(result: Mapping[str, Any]) -> float | None:
    value = _number(result.get("correct"))
    return _number(result.get("score")) if value is None else value


def _of_agreement(share: object) -> dict[str, float | None]:
    value = _number(share)
    if value is None:
        return {}
    return {"logconf": math.log(value) if value > 0 else None}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
