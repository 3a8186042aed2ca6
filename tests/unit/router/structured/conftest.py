"""Real grammar workers."""

import pytest

from router.structured.workers.grammar_workers import (
    GrammarWorkers,
)


@pytest.fixture
async def workers():
    made = GrammarWorkers()
    yield made
    await made.close()


@pytest.fixture
async def hasty():
    made = GrammarWorkers(limit_s=1)
    yield made
    await made.close()
