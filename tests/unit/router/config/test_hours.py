from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.config.hours import DAYS, Hours

NIGHT = "22:00-06:00 Europe/Madrid"
ZONES = ["UTC", "Europe/Madrid", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Chatham"]
TIMES = st.datetimes(datetime(2024, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))


def at(text: str, zone: str = "Europe/Madrid", *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


@pytest.mark.parametrize(
    ("hours", "local", "runs"),
    [
        (NIGHT, "2026-11-27 21:59", False),
        (NIGHT, "2026-11-27 22:00", True),
        (NIGHT, "2026-11-28 05:59", True),
        (NIGHT, "2026-11-28 06:00", False),
        ("00:00-24:00 UTC", "2026-11-28 03:00", True),
        ("Mon-Fri 20:00-08:00, Sat-Sun 00:00-24:00 Europe/Madrid", "2026-11-27 19:59", False),  # a Friday
        ("Mon-Fri 20:00-08:00, Sat-Sun 00:00-24:00 Europe/Madrid", "2026-11-28 12:00", True),
        ("Mon-Fri 20:00-08:00, Sat-Sun 00:00-24:00 Europe/Madrid", "2026-11-30 00:00", False),  # Sunday has no night
        ("Mon-Fri 20:00-08:00 Europe/Madrid", "2026-11-28 07:59", True),  # Friday's night
        ("Sun 22:00-06:00 Europe/Madrid", "2026-11-30 05:59", True),  # from the end of the week into its beginning
        ("Sun 22:00-06:00 Europe/Madrid", "2026-11-29 05:59", False),
        ("Sat-Mon 10:00-11:00 Europe/Madrid", "2026-11-29 10:30", True),
        ("Sat-Mon 10:00-11:00 Europe/Madrid", "2026-12-01 10:30", False),
        ("Wed 10:00-11:00 Europe/Madrid", "2026-12-02 10:30", True),
    ],
)
def test_when_it_runs(hours: str, local: str, runs: bool) -> None:
    assert Hours.parse(hours).contains(at(local)) is runs


def test_the_clock_on_the_wall_counts() -> None:
    hours = Hours.parse(NIGHT)
    assert hours.contains(datetime(2026, 7, 1, 20, 0, tzinfo=UTC)), "22:00 in summer"
    assert not hours.contains(datetime(2026, 1, 1, 20, 59, tzinfo=UTC)), "21:59 in winter"


def test_a_local_time_that_comes_twice_counts_twice() -> None:
    hours = Hours.parse("02:30-03:00 Europe/Madrid")
    first, second = at("2026-10-25 02:30"), at("2026-10-25 02:30", fold=1)
    assert second.astimezone(UTC) - first.astimezone(UTC) == timedelta(hours=1)
    assert hours.contains(first)
    assert hours.contains(second)
    assert hours.next_change(first) == datetime(2026, 10, 25, 1, 0, tzinfo=UTC), "02:00 again"
    assert hours.next_change(second) == datetime(2026, 10, 25, 2, 0, tzinfo=UTC)


def test_a_local_time_that_is_left_out_does_not_come() -> None:
    hours = Hours.parse("02:15-02:45 Europe/Madrid")
    begin = hours.next_change(at("2026-03-28 12:00"))
    assert begin == at("2026-03-30 02:15"), "on the 29th the clock jumps from 02:00 to 03:00"


def test_a_night_in_which_the_clock_changes_is_an_hour_shorter_or_longer() -> None:
    hours = Hours.parse(NIGHT)
    for evening, length in (("2026-03-28 22:00", 7), ("2026-10-24 22:00", 9), ("2026-11-27 22:00", 8)):
        end = hours.next_change(at(evening))
        assert end is not None
        assert end - at(evening).astimezone(UTC) == timedelta(hours=length)


def test_what_always_runs_never_changes() -> None:
    assert Hours.parse("00:00-24:00 UTC").next_change(at("2026-11-28 12:00")) is None
    assert Hours.parse("00:00-12:00, 12:00-24:00 UTC").next_change(at("2026-11-28 12:00")) is None


def a_time(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@st.composite
def texts(draw: st.DrawFn) -> str:
    ranges = []
    for _ in range(draw(st.integers(1, 3))):
        begin, end = draw(st.lists(st.integers(0, 1439), min_size=2, max_size=2, unique=True))
        days = draw(st.sampled_from(["", *(f"{day} " for day in DAYS), "Mon-Fri ", "Sat-Mon "]))
        ranges.append(f"{days}{a_time(begin)}-{a_time(end)}")
    return f"{', '.join(ranges)} {draw(st.sampled_from(ZONES))}"


@given(texts(), TIMES)
def test_nothing_changes_before_the_next_change(text: str, now: datetime) -> None:
    hours = Hours.parse(text)
    change = hours.next_change(now)
    if change is None:
        return
    assert change > now
    assert hours.contains(change) != hours.contains(now)
    assert hours.contains(change - timedelta(microseconds=1)) == hours.contains(now)


@given(st.integers(0, 1439), st.integers(1, 1440), TIMES)
def test_in_utc_a_range_runs_from_its_begin_for_its_length(begin: int, length: int, now: datetime) -> None:
    end = (begin + length) % 1440
    text = "00:00-24:00" if length == 1440 else f"{a_time(begin)}-{a_time(end)}"
    minute = now.hour * 60 + now.minute
    assert Hours.parse(f"{text} UTC").contains(now) == (length == 1440 or (minute - begin) % 1440 < length)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected hours and a time zone"),
        ("UTC", "expected hours and a time zone"),
        ("22-06 UTC", "'22-06' is not a range of hours"),
        ("22:00-06:00, UTC", "'' is not a range of hours"),
        ("Mo 22:00-06:00 UTC", "'Mo 22:00-06:00' is not a range"),
        ("10:00-10:00 UTC", "'10:00-10:00' is empty"),
        ("24:00-02:00 UTC", "'24:00-02:00' is empty"),
        ("25:00-02:00 UTC", "25:00 is not a time of day"),
        ("10:60-11:00 UTC", "10:60 is not a time of day"),
        ("10:00-24:01 UTC", "24:01 is not a time of day"),
        ("10:00-11:00 Europe/Madrit", "unknown time zone 'Europe/Madrit'"),
        ("10:00-11:00 Europe", "unknown time zone 'Europe'"),
        ("10:00-11:00 ../zone", "unknown time zone"),
        ("10:00-11:00,12:00-13:00", "expected hours and a time zone"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Hours.parse(text)


@pytest.mark.parametrize(
    ("hours", "minutes"),
    [
        (NIGHT, 8 * 60),
        ("00:00-24:00 UTC", 7 * 24 * 60),
        ("22:00-06:00, 12:00-12:01 UTC", 1),
        ("Sun 22:00-24:00, Mon 00:00-06:00 UTC", 8 * 60),
    ],
)
def test_the_shortest_time(hours: str, minutes: int) -> None:
    assert Hours.parse(hours).shortest_s == minutes * 60
