"""A labelled data set for extraction: messages that are generated from their fields, so every field is known exactly.

There are five kinds of messages that small businesses get, each with a fixed schema and several phrasings. Half of the
phrasings have a second value that could be mistaken for a field, such as an old address or another date.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Fields = dict[str, str | int | float]

SEED = 20_26
FIRST = ("Maria", "Tomas", "Aisha", "Jonas", "Priya", "Lena", "Omar", "Greta", "Hugo", "Nadia", "Pavel", "Ines")
LAST = ("Berg", "Okafor", "Lindqvist", "Moreau", "Tanaka", "Novak", "Silva", "Haddad", "Keller", "Byrne", "Rossi")
CITY = ("Lisbon", "Leeds", "Krakow", "Graz", "Bergen", "Ghent", "Turin", "Malmo", "Porto", "Basel", "Cork")
COMPANY = ("Northwind Tools", "Bluefin Logistics", "Alder & Sons", "Copper Kettle", "Helio Print", "Quarry Bakery")
ITEM = ("oak shelves", "desk lamps", "coffee filters", "garden chairs", "steel brackets", "wool blankets", "notebooks")
DAY = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
EVENT = ("Budget review", "Design workshop", "Safety briefing", "Book launch", "Team breakfast", "Sales training")
CURRENCY = ("EUR", "GBP", "USD", "CHF")
SEVERITY = ("low", "medium", "high")


@dataclass(frozen=True, slots=True)
class Message:
    """One message, and its fields."""

    kind: str
    text: str
    fields: Fields


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of message: the schema of its fields, how they are drawn, and its phrasings."""

    schema: Mapping[str, Mapping[str, Any]]
    draw: Callable[[random.Random], Fields]
    phrasings: Sequence[str]
    """`{field}` stands for a field, `{other_...}` for a value that only looks like it"""

    def json_schema(self) -> dict[str, Any]:
        """Return the schema of the whole object."""
        return {
            "type": "object",
            "properties": {name: dict(of) for name, of in self.schema.items()},
            "required": list(self.schema),
            "additionalProperties": False,
        }


def messages(count: int) -> list[Message]:
    """Return this number of messages, of all kinds in turn. They are always the same."""
    names = list(KINDS)
    return [_message(names[place % len(names)], random.Random(SEED + place)) for place in range(count)]


def right_fields(fields: Mapping[str, object], given: object) -> float:
    """Return the share of fields that are given with their value, without letter case and spaces of texts."""
    if not isinstance(given, Mapping):
        return 0.0
    return sum(name in given and _same(value, given[name]) for name, value in fields.items()) / len(fields)


def _same(wanted: object, given: object) -> bool:
    if isinstance(wanted, str):
        return isinstance(given, str) and wanted.casefold().split() == given.casefold().split()
    return wanted == given and not isinstance(given, bool)


def _message(kind: str, draw: random.Random) -> Message:
    of = KINDS[kind]
    fields = others = of.draw(draw)
    while any(others[name] == value for name, value in fields.items()):
        others = of.draw(draw)
    named = {f"other_{name}": value for name, value in others.items()}
    return Message(kind, draw.choice(of.phrasings).format(**fields, **named), fields)


def _person(draw: random.Random) -> str:
    return f"{draw.choice(FIRST)} {draw.choice(LAST)}"


def _order(draw: random.Random) -> Fields:
    return {
        "customer": _person(draw),
        "quantity": draw.randint(2, 60),
        "item": draw.choice(ITEM),
        "city": draw.choice(CITY),
    }


def _contact(draw: random.Random) -> Fields:
    return {
        "person": _person(draw),
        "company": draw.choice(COMPANY),
        "phone": f"+{draw.randint(30, 49)} {draw.randint(100, 999)} {draw.randint(1000, 9999)}",
    }


def _event(draw: random.Random) -> Fields:
    return {
        "event": draw.choice(EVENT),
        "day": draw.choice(DAY),
        "time": f"{draw.randint(8, 18):02d}:{draw.choice((0, 15, 30, 45)):02d}",
    }


def _ticket(draw: random.Random) -> Fields:
    return {
        "reporter": _person(draw),
        "version": f"{draw.randint(1, 9)}.{draw.randint(0, 20)}.{draw.randint(1, 9)}",
        "severity": draw.choice(SEVERITY),
    }


def _invoice(draw: random.Random) -> Fields:
    return {
        "supplier": draw.choice(COMPANY),
        "total": draw.randint(20, 4000) + draw.choice((0.25, 0.5, 0.75)),
        "currency": draw.choice(CURRENCY),
    }


_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}

KINDS: Mapping[str, Kind] = {
    "orders": Kind(
        {"customer": _TEXT, "quantity": _WHOLE, "item": _TEXT, "city": _TEXT},
        _order,
        (
            "{customer} from {city} wants {quantity} {item}.",
            "Hello, this is {customer}. Please send {quantity} {item} to our shop in {city}. Many thanks!",
            "{customer} called again. It is {quantity} {item} now, not {other_quantity} as before. Send to {city}.",
            "We moved from {other_city} to {city}, so send our next {quantity} {item} there. Regards, {customer}",
        ),
    ),
    "contacts": Kind(
        {"person": _TEXT, "company": _TEXT, "phone": _TEXT},
        _contact,
        (
            "{person}, {company}, {phone}",
            "You can reach {person} at {phone} on weekdays. The company is {company}.",
            "{person} works for {company}. The new number is {phone} instead of {other_phone}.",
            "{person} has left {other_company} and is at {company} now. The number is {phone}.",
        ),
    ),
    "events": Kind(
        {"event": _TEXT, "day": _TEXT, "time": _TEXT},
        _event,
        (
            "{event}: {day}, {time}.",
            "Dear all, you are invited to our next event, the {event}. We meet on {day} and begin at {time}.",
            "The {event} is not on {other_day} but on {day}, and starts at {time}.",
            "The {event} of {day} begins at {time} and not at {other_time}.",
        ),
    ),
    "tickets": Kind(
        {"reporter": _TEXT, "version": _TEXT, "severity": {"type": "string", "enum": list(SEVERITY)}},
        _ticket,
        (
            "{reporter}: version {version} fails. Severity: {severity}.",
            "{reporter} reports that nothing works after the update to version {version}. I filed it with {severity}"
            " severity.",
            "It is broken since version {version}; {other_version} was fine. {reporter} wrote it, severity {severity}.",
            "Severity {severity}, not {other_severity}: since version {version} it crashes at the start. Seen by"
            " {reporter}.",
        ),
    ),
    "invoices": Kind(
        {"supplier": _TEXT, "total": _NUMBER, "currency": _TEXT},
        _invoice,
        (
            "Invoice from {supplier}: {total} {currency}.",
            "{supplier} has sent us an invoice. We owe {total} {currency}, and it must be paid in thirty days.",
            "Please pay {supplier} the {total} {currency}. The invoice of {other_total} {currency} is paid already.",
            "The invoice of {supplier} is over {total} {currency} and not over {other_total}.",
        ),
    ),
}  # fmt: skip
