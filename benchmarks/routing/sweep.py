"""A run: a pair of models, the data to fit on, and the data to score. And all runs with the files of a folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from statistics import fmean
from typing import Any
from zlib import crc32

import numpy as np

from benchmarks.routing.comparison import Drawn, differences
from benchmarks.routing.data import NoData, Row, averages, load, pair, rows
from benchmarks.routing.metrics import Curve, Order, intervals, merged_figures, spread
from benchmarks.routing.policies import Scored, cross_score, hashed, score

Raw = Sequence[Mapping[str, Any]]
SEED = 5
CORNERS = 200
"""of each curve that are kept for the picture"""
MUCH_CHEAPER = 0.1


@dataclass(frozen=True, slots=True)
class Run:
    """What is fitted and scored in one run."""

    train: str
    test: str
    """names of the data"""
    weak: str
    strong: str
    of_train: Sequence[Row]
    of_test: Sequence[Row]
    shown: bool = True
    """whether the picture and the details have it"""

    @property
    def crossed(self) -> bool:
        """Return whether the same data are fitted and scored, by cross-fitting."""
        return self.of_train is self.of_test


def single_run(train: Sequence[Path], test: Sequence[Path] | None, weak: str | None, strong: str | None) -> Run:
    """Return the run of the given files. If the training data lack the pair, their own pair is used.

    Raises:
        NoData: a file cannot be used.
    """
    of_train = [row for path in train for row in load(path)]
    same = not test or [path.resolve() for path in train] == [path.resolve() for path in test]
    of_test = of_train if same else [row for path in test or () for row in load(path)]
    weak, strong = pair(of_test, weak, strong)
    tested = rows(of_test, weak, strong)
    try:
        trained = tested if same else rows(of_train, weak, strong)
    except NoData:
        trained = rows(of_train, None, None)
    return Run(_name(train), _name(train if same else test or ()), weak, strong, trained, tested)


def all_runs(folder: Path) -> Iterator[Run]:
    """Yield all runs of a folder's files.

    Each file is cross-fitted for every pair of its models, or without confidences for every pair with the best model.
    Files with confidences of the same models are also mixed. Files with one fixed pair are also split: one half is
    fitted and the other scored. And each of these files is fitted to score each of the others.

    Raises:
        NoData: there is none, or a file cannot be used.
    """
    files = {_name([path]): load(path) for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])}
    if not files:
        raise NoData(f"{folder}: no *.jsonl or *.jsonl.gz there")
    direct = {name: rows(raw, None, None) for name, raw in files.items() if not any("models" in row for row in raw)}
    for name, found in direct.items():
        yield Run(name, name, "weak", "strong", found, found)
        if len(found) == 1:
            continue
        half, other_half = ([found[place] for place in hashed(found)[start::2]] for start in (0, 1))
        yield Run(f"{name}, half", f"{name}, other half", "weak", "strong", half, other_half, shown=False)
    for (name, found), (other, found_too) in permutations(direct.items(), 2):
        yield Run(name, other, "weak", "strong", found, found_too, shown=False)
    pools = {name: raw for name, raw in files.items() if name not in direct}
    for name, raw in (pools | _mixed(pools)).items():
        pairs = _pairs(raw)
        shown = _shown(raw, pairs)
        if not _has_confidences(raw):
            pairs = [(weak, strong) for weak, strong in pairs if strong == pairs[-1][1]]
        for weak, strong in pairs:
            found = rows(raw, weak, strong)
            yield Run(name, name, weak, strong, found, found, shown=(weak, strong) == shown)


def figures_of(run: Run, samples: int) -> tuple[dict[str, Any], Drawn]:
    """Fit and score all policies; return the facts of the run with all figures, and their bootstrap samples."""
    outcome = cross_score(run.of_test) if run.crossed else score(run.of_train, run.of_test)
    orders = {name: _orders(run.of_test, one) for name, one in outcome.policies.items()}
    curves = {name: _curves(*of) for name, of in orders.items()}
    drawn = intervals(orders, len(run.of_test), times=samples, seed=SEED)
    found = {
        "train": run.train,
        "test": run.test,
        "weak": run.weak,
        "strong": run.strong,
        "crossed": run.crossed,
        "labels": len(run.of_train),
        "calls": len(run.of_test),
        "digest": crc32("\0".join(row.id for row in run.of_test).encode(errors="surrogatepass")),
        "support": outcome.support,
        "shown": run.shown,
        "quality": [fmean(row.weak for row in run.of_test), fmean(row.strong for row in run.of_test)],
        "policies": {name: merged_figures(*of) for name, of in curves.items()},
        "intervals": {name: {key: spread(values) for key, values in one.items()} for name, one in drawn.items()},
        "differences": differences(drawn),
        "curves": {
            name: _thinned(usd if usd.usd is not None else calls) for name, (calls, usd) in curves.items() if run.shown
        },
    }
    return found, drawn


def _orders(calls: Sequence[Row], one: Scored) -> tuple[Order, Order]:
    order = Order(calls, one.scores, pays_weak=one.pays_weak)
    return order, order if one.to_save_usd is None else Order(calls, one.to_save_usd, pays_weak=one.pays_weak)


def _curves(calls: Order, usd: Order) -> tuple[Curve, Curve]:
    curve = calls.curve()
    return curve, curve if usd is calls else usd.curve()


def _thinned(curve: Curve) -> dict[str, list[float]]:
    places = np.unique(np.linspace(0, len(curve.share) - 1, CORNERS).round().astype(np.intp))
    kept = {"share": curve.share[places], "quality": curve.quality[places]}
    if curve.usd is not None and curve.strong_usd > 0:
        kept["usd"] = curve.usd[places] / curve.strong_usd
    return {name: [round(value, 5) for value in values.tolist()] for name, values in kept.items()}


def _name(paths: Sequence[Path]) -> str:
    return " + ".join(path.name.removesuffix(".gz").removesuffix(".jsonl") for path in paths)


def _pairs(raw: Raw) -> list[tuple[str, str]]:
    """Return the pairs in which the second model is better; those with the best model come last."""
    quality, _ = averages(raw)
    names = sorted(quality, key=quality.__getitem__)
    return [(weak, strong) for strong in names for weak in names if quality[weak] < quality[strong]]


def _shown(raw: Raw, pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the pair for the picture: the best model, and the best of the much cheaper ones."""
    quality, usd = averages(raw)
    with_best = [pair for pair in pairs if pair[1] == pairs[-1][1]]
    cheap = [(weak, best) for weak, best in with_best if usd.get(weak, 0.0) <= MUCH_CHEAPER * usd.get(best, 0.0)]
    return max(cheap or with_best, key=lambda pair: quality[pair[0]], default=None)


def _has_confidences(raw: Raw) -> bool:
    return all("logconf" in result for row in raw for result in row["models"].values())


def _mixed(pools: Mapping[str, Raw]) -> dict[str, Raw]:
    """Merge the files that have confidences of the same models."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, raw in pools.items():
        if _has_confidences(raw):
            groups.setdefault(tuple(sorted({model for row in raw for model in row["models"]})), []).append(name)
    return {
        " + ".join(names): [row for name in names for row in pools[name]] for names in groups.values() if len(names) > 1
    }
