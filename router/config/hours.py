"""The hours at which a model runs: `Mon-Fri 20:00-08:00, Sat-Sun 00:00-24:00 Europe/Madrid`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
MINUTE = timedelta(minutes=1)
EXPECTED = "expected hours and a time zone, such as `22:00-06:00 Europe/Madrid` or `Mon-Fri 20:00-08:00 Europe/Madrid`"
_RANGE = re.compile(rf"(?:({'|'.join(DAYS)})(?:-({'|'.join(DAYS)}))? +)?(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Hours:
    """Minutes of the week, by the clock on the wall of a time zone.

    A range that ends before it begins ends on the next day. At a change of the clock, a local time that comes twice
    counts twice, and one that is left out does not come.
    """

    text: str
    """as models.yaml has it"""
    zone: ZoneInfo
    minutes: frozenset[int]
    """0 is Monday, 00:00"""

    @classmethod
    def parse(cls, text: str) -> Hours:
        """Read the text.

        Raises:
            ValueError: it is wrong. The message says what was expected.
        """
        return _parse(text)

    def contains(self, at: datetime) -> bool:
        """Return whether the model runs at this time; `at` has a time zone."""
        local = at.astimezone(self.zone)
        return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute in self.minutes

    @property
    def shortest_s(self) -> float:
        """Return for how long the model runs at the shortest of its times."""
        week = range(WEEK_MINUTES)
        begins = [minute for minute in self.minutes if (minute - 1) % WEEK_MINUTES not in self.minutes]
        ends = (next(n for n in week if (begin + n) % WEEK_MINUTES not in self.minutes) for begin in begins)
        return 60.0 * min(ends, default=WEEK_MINUTES)

    def next_change(self, at: datetime) -> datetime | None:
        """Return the next time at which `contains` changes, or None if it never does."""
        if len(self.minutes) == WEEK_MINUTES:
            return None
        # All offsets of time zones are whole minutes, so nothing changes within a minute.
        now = self.contains(at)
        later = at.astimezone(UTC).replace(second=0, microsecond=0) + MINUTE
        while self.contains(later) == now:
            later += MINUTE
        return later


@lru_cache(maxsize=256)
def _parse(text: str) -> Hours:
    ranges, _, zone = text.strip().rpartition(" ")
    if not ranges:
        raise ValueError(EXPECTED)
    minutes = frozenset(minute for part in ranges.split(",") for minute in _minutes(part.strip()))
    try:
        return Hours(text, ZoneInfo(zone), minutes)
    except (LookupError, ValueError, OSError):  # OSError: the name of a folder of zones
        raise ValueError(f"unknown time zone {zone!r}; expected a name such as Europe/Madrid or UTC") from None


def _minutes(part: str) -> frozenset[int]:
    """Return the minutes of the week that one range has."""
    if (found := _RANGE.fullmatch(part)) is None:
        raise ValueError(f"{part!r} is not a range of hours; {EXPECTED}")
    first, last, *times = found.groups()
    begin, end = (_minute_of_day(*times[at : at + 2]) for at in (0, 2))
    if begin in (end, DAY_MINUTES):
        raise ValueError(f"{part!r} is empty; the whole day is 00:00-24:00")
    length = (end - begin) % DAY_MINUTES or DAY_MINUTES
    return frozenset(
        (day * DAY_MINUTES + begin + minute) % WEEK_MINUTES for day in _days(first, last) for minute in range(length)
    )


def _minute_of_day(hour: str, minute: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > DAY_MINUTES:
        raise ValueError(f"{hour}:{minute} is not a time of day; expected 00:00 to 24:00")
    return found


def _days(first: str | None, last: str | None) -> list[int]:
    """Return the numbers of the days from `first` to `last`, or of all days. Monday is 0."""
    if first is None:
        return list(range(7))
    begin = DAYS.index(first)
    length = (DAYS.index(last) - begin) % 7 + 1 if last else 1
    return [(begin + offset) % 7 for offset in range(length)]
