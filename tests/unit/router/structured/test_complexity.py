"""How much work a schema needs."""

from hypothesis import given

from router.structured.complexity import evaluations
from router.structured.request.schema_weight import (
    MAX_LIGHT_EVALUATIONS,
)
from tests.support.schemas import JSON


@given(JSON)
def test_counting_ends_at_the_limit(value):
    assert 1 <= evaluations(value, MAX_LIGHT_EVALUATIONS) <= MAX_LIGHT_EVALUATIONS + 1
