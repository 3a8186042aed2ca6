"""Text that is added to YAML leaves everything else as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from router.yaml.edit import CannotEdit, add_entry, add_item, plain

ROOT = Path(__file__).parents[4]
BODY = ["source: x   # a comment", "# another"]


def added(text: str, name: str = "new") -> str:
    """Return the text with an entry, after checking that nothing but lines was added."""
    edited = add_entry(text, "models", name, BODY)
    before, after = text.splitlines(), edited.splitlines()
    start = next((i for i, (old, new) in enumerate(zip(before, after, strict=False)) if old != new), len(before))
    assert after[:start] + after[start + len(after) - len(before) :] == before
    expected = yaml.safe_load(text)
    expected["models"][name] = {"source": "x"}
    assert yaml.safe_load(edited) == expected
    return edited


@pytest.mark.parametrize("path", ["models.yaml", "deploy/models.yaml"])
def test_an_entry_follows_the_others_of_our_own_files(path: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    edited = added(text)
    assert "\n  new:\n    source: x   # a comment\n    # another\n" in edited


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("models:\n  a: {b: 1}\n", "models:\n  a: {b: 1}\n  new:\n    source: x   # a comment\n    # another\n"),
        ("models:\n  a: {b: 1}", "models:\n  a: {b: 1}\n  new:\n    source: x   # a comment\n    # another\n"),
        (
            "models:\n    a:\n       b: 1\n# about routes\nroutes: {}\n",
            "models:\n    a:\n       b: 1\n    new:\n       source: x   # a comment\n       # another\n"
            "# about routes\nroutes: {}\n",
        ),
        (
            "models:\n  a:\n    b: 1\n    # about b\n\n\nroutes: {}\n",
            "models:\n  a:\n    b: 1\n    # about b\n  new:\n    source: x   # a comment\n    # another\n"
            "\n\nroutes: {}\n",
        ),
        (
            "models:\r\n  a: {b: 1}\r\nroutes: {}\r\n",
            "models:\r\n  a: {b: 1}\r\n  new:\r\n    source: x   # a comment\r\n    # another\r\nroutes: {}\r\n",
        ),
    ],
    ids=["one", "no last line break", "other indents", "a comment at the end", "Windows"],
)
def test_an_entry_takes_the_form_of_its_neighbours(text: str, edited: str) -> None:
    assert added(text) == edited


def test_a_name_that_yaml_reads_as_something_else_is_quoted() -> None:
    assert '  "1.5":\n' in added("models:\n  a: {b: 1}\n", "1.5")
    assert [plain(name) for name in ("a", "a:b", "no", "12", "x: y", "a/b")] == [
        "a", "a:b", '"no"', '"12"', '"x: y"', "a/b"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text", ["models: {a: {b: 1}}\n", "models: {}\n", "models:\n", "models: [a]\n", "routes: {}\n"]
)
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(CannotEdit, match="`models` is not a mapping with each key on its own line"):
        add_entry(text, "models", "new", BODY)


LADDERS = {
    "flow": "routes:\n  auto:\n    ladder: [a, [b, c], d]   # cheapest first\n    policy: fixed\n",
    "flow in flow": "routes: {auto: {ladder: [a, [b, c], d,], policy: fixed}}",
    "lines": (
        "routes:\n  auto:\n    ladder:\n      - a   # small\n      # side by side\n      - [b, c]\n      - d\n"
        "    policy: x\n"
    ),
    "lines, not indented": "routes:\n  auto:\n    ladder:\n    - a\n    - - b\n      - c\n    - d\n\n# the end\n",
    "several lines": "routes:\n  auto:\n    ladder: [a,  # small\n      [b, c],\n      d]\n",
}


@pytest.mark.parametrize("form", LADDERS)
@pytest.mark.parametrize("index", range(4))
def test_an_item_has_its_index(form: str, index: int) -> None:
    text = LADDERS[form]
    edited = add_item(text, ("routes", "auto", "ladder"), index, "new")
    expected: Any = yaml.safe_load(text)
    expected["routes"]["auto"]["ladder"].insert(index, "new")
    assert yaml.safe_load(edited) == expected
    assert edited.count("#") == text.count("#")


@pytest.mark.parametrize(
    "text", ["routes: {auto: {ladder: []}}", "routes: {auto: {ladder: a}}", "routes: []", "{}", ""]
)
def test_what_is_no_list_with_items_is_refused(text: str) -> None:
    with pytest.raises(CannotEdit, match=r"`routes\.auto\.ladder` is not a list"):
        add_item(text, ("routes", "auto", "ladder"), 0, "new")


NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,12}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="ascii"), max_size=20),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(NAMES, children, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, min_size=1), min_size=1),
    st.dictionaries(NAMES, VALUES),
    NAMES,
    st.integers(1, 6),
    st.sampled_from(["", "\n", "# a comment\n", "\n# a comment\n\n"]),
)
def test_any_file_that_yaml_writes_takes_an_entry(
    models: dict[str, Any], more: dict[str, Any], name: str, indent: int, between: str
) -> None:
    text = yaml.safe_dump({"models": models}, indent=indent) + between + yaml.safe_dump({"more": more}, indent=indent)
    if name not in models:
        edited = add_entry(text, "models", name, ["source: x"])
        assert yaml.safe_load(edited) == {"models": models | {name: {"source": "x"}}, "more": more}
        assert between + yaml.safe_dump({"more": more}, indent=indent) in edited


@given(st.lists(NAMES | st.lists(NAMES, min_size=1, max_size=3), min_size=1), NAMES, st.booleans(), st.data())
def test_any_ladder_takes_a_model(ladder: list[Any], name: str, flow: bool, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(ladder)))
    text = yaml.safe_dump({"routes": {"auto": {"ladder": ladder}}}, default_flow_style=flow or None)
    edited = add_item(text, ("routes", "auto", "ladder"), index, name)
    assert yaml.safe_load(edited)["routes"]["auto"]["ladder"] == [*ladder[:index], name, *ladder[index:]]
