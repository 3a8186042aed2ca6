from __future__ import annotations

from router.attempt.pace import Pace
from router.config.models import Timeouts


def test_without_a_limit_nothing_is_counted() -> None:
    assert Pace.of(Timeouts()) is None


def test_the_time_starts_with_the_first_token() -> None:
    pace = Pace.of(Timeouts(min_tokens_per_s=2.0, probe_s=3.0))
    assert pace is not None
    assert not pace.is_shown(0, 100.0)
    assert pace.end_by is None
    assert not pace.is_shown(1, 105.0)
    assert pace.end_by == 108.0
    assert not pace.is_shown(5, 107.0)
    assert pace.end_by == 108.0
    assert pace.is_shown(6, 107.0)


def test_enough_tokens_at_once_need_no_time() -> None:
    assert Pace(min_tokens_per_s=0.1, probe_s=3.0).is_shown(1, 100.0)
