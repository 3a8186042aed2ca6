"""What the table of `smallfirst calibrate` counts."""

from __future__ import annotations

from router.learning.calibration_report import HeldOutCall, auroc, kept_share_and_loss
from router.learning.evidence import Example


def test_auroc_counts_ties_half() -> None:
    def scored(*pairs: tuple[float | None, bool]) -> list[Example]:
        return [Example("t", "", weak=float(good), strong=1, score=value) for value, good in pairs]

    assert auroc(scored((1, True), (0, False), (2, True))) == 1
    assert auroc(scored((1, True), (1, False))) == 0.5
    assert auroc(scored((0, True), (1, False), (None, False))) == 0
    assert auroc(scored((1, True), (None, False))) is None


def test_what_is_kept_is_counted_over_all_calls() -> None:
    def judged(gain: float, weak: float) -> HeldOutCall:
        one = Example("t", "", weak=weak, strong=1)
        return HeldOutCall(one, gain)

    four = [judged(0.1, 1), judged(0.15, 0), judged(0.4, 0.5), judged(0.9, 0)]
    assert kept_share_and_loss(four, 0.8) == (0.5, 0.25)
    assert kept_share_and_loss(four, 0.95) == (0, 0)
    assert kept_share_and_loss([], 0.5) is None
