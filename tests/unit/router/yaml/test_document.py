"""YAML with positions: where a key stands, and what is refused before anyone reads a value."""

import re
from pathlib import Path

import pytest

from router.errors import ConfigError
from router.yaml.document import YamlDocument, dotted, substitute_env

TEXT = """\
models:
  a:
    base_url:
      - http://one
      - http://two
  b: {tier: slm,
      engine: vllm}
"""


@pytest.fixture
def write(tmp_path: Path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "models.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (("models",), 1),
        (("models", "a"), 2),
        (("models", "a", "base_url"), 3),
        (("models", "a", "base_url", 1), 5),
        (("models", "b", "tier"), 6),
        (("models", "b", "engine"), 7),
        (("models", "a", "absent"), 2),  # the nearest parent
        (("models", "a", "base_url", 7), 3),
    ],
)
def test_where_names_the_line_of_a_key(write, key, line):
    path = write(TEXT)
    assert YamlDocument(path).where(key) == f"{path}:{line}"


def test_where_names_the_file_for_a_key_without_any_parent(write):
    path = write(TEXT)
    assert YamlDocument(path).where(("routes", "auto")) == str(path)


def test_an_empty_file_holds_nothing(write):
    assert YamlDocument(write("")).data is None


def test_a_date_is_text_also_one_that_no_calendar_has(write):
    assert YamlDocument(write("a: 2026-11-10\nb: 2026-13-45\n")).data == {"a": "2026-11-10", "b": "2026-13-45"}


def test_merge_keys_are_read(write):
    data = YamlDocument(write("a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n")).data
    assert data["b"] == {"x": 1, "y": 2}


BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r":3: a: the key appears twice"),
        ("a:\n  b: 1\n  b: 2\n", r":3: a\.b: the key appears twice"),
        ("a: [1\n", r":2: not valid YAML: .*"),
        ("a:\n\t- b\n", r":2: not valid YAML: found character '\\t' .*"),
        ("a: !!python/object:os.system x\n", r":1: not valid YAML: could not determine a constructor .*"),
        ("a: 1\n---\nb: 2\n", r":2: not valid YAML: .*another document"),
        ("? [a, b]\n: 3\n", r":1: not valid YAML: found unhashable key"),
        ("7: a\n", r":1: 7: YAML does not read this key as text; quote it"),
        ("a:\n  yes: b\n", r":2: a\.yes: YAML does not read this key as text; quote it"),
        ("a: &a\n  b: *a\n", r":1: an alias refers to itself"),
        (b"a: \xff\n", r": is not UTF-8 \(byte 3\)"),
        ('a: "\0"\n', r": not valid YAML: unacceptable character .*"),
        ("[" * 5000, r": not valid YAML: .*"),
        (BOMB, r": more than 100000 entries, including aliases"),
    ],
)
def test_what_is_refused_is_named_in_one_line(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError) as caught:
        YamlDocument(path)
    assert re.fullmatch(re.escape(str(path)) + message, str(caught.value))


def test_a_file_that_cannot_be_read_says_so(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read: No such file"):
        YamlDocument(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        YamlDocument(tmp_path)


def test_dotted_writes_a_path_as_people_do():
    assert dotted(("models", "a", "base_url", 1)) == "models.a.base_url[1]"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${env.A}", ("1", None)),
        ("${env.B}", (None, "B")),
        ("${env.EMPTY}", (None, "EMPTY")),
        ("plain $A", ("plain $A", None)),
        (3, (3, None)),
        (["x", "${env.A}"], (["x", "1"], None)),
        ({"x": {"y": "${env.B}"}}, ({"x": {"y": None}}, "B")),
    ],
)
def test_environment_variables_are_put_in(value, expected):
    assert substitute_env(value, {"A": "1", "EMPTY": ""}) == expected


@pytest.mark.parametrize("value", ["Bearer ${env.A}", "${env.A} ", "${env.A}${env.A}", "${env.}", "${env.A"])
def test_a_variable_within_a_text_is_refused(value):
    with pytest.raises(ValueError, match="expected `"):
        substitute_env(value, {"A": "1"})
