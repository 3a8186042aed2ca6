"""JSON schemas that are costly, and any JSON that looks like a schema."""

from hypothesis import strategies as st


def doubling(levels: int, link) -> dict:
    chain = {f"a{i}": link(f"#/$defs/a{i + 1}") for i in range(levels)}
    return {"$ref": "#/$defs/a0", "$defs": chain | {f"a{levels}": {"type": "string"}}}


def with_patterns(count: int, kind: str = "pattern") -> dict:
    if kind == "patternProperties":
        return {"patternProperties": {f"^a{i}$": {"type": "integer"} for i in range(count)}}
    return {"properties": {f"a{i}": {"pattern": f"^b{i}$"} for i in range(count)}}


WORDS = [
    "$ref", "$defs", "$id", "$anchor", "$dynamicRef", "$schema", "allOf", "anyOf", "not", "items", "a",
    "properties", "patternProperties", "pattern", "enum", "type", "dependentSchemas", "required",
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["#", "#/a", "#/a/0", "x", "object", "(", "#/%41"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(WORDS),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)
