"""Request fields that ask for formats and tools, right and wrong ones."""

import pytest
from hypothesis import strategies as st

from router.errors import BadRequest

SCHEMA = {"type": "object"}


def tool(name, **function):
    return {"type": "function", "function": {"name": name, **function}}


def refused(ask, body, param) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        ask(body)
    error = caught.value
    assert (error.status, error.param) == (400, param)
    assert param in error.message
    assert len(error.message) < 400
    return error


WORDS = [
    "type", "json_schema", "schema", "json", "regex", "choice", "grammar", "json_object", "structural_tag",
    "structures", "triggers", "begin", "end", "name", "function", "parameters", "allowed_tools", "mode",
    "tools", "strict",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["f", "<f>", "auto", "required"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
TYPED = st.builds(
    lambda kind, value: {"type": kind, **(value if isinstance(value, dict) else {})},
    st.sampled_from(["json_schema", "structural_tag", "function", "allowed_tools", "text"]),
    JSON,
)


def outcome(ask, body):
    try:
        return ask(body)
    except BadRequest as error:
        return error
