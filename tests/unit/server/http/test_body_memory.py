"""The memory of large request bodies."""

import pytest
from starlette.types import Message

from router.errors import Overloaded
from server.http.body_memory import SMALL_BYTES, BodyMemory, max_body_bytes
from server.http.disconnect import ClientDisconnected
from server.http.middleware import read_body
from tests.support.fakes import config, large, model

PART = b"x" * (SMALL_BYTES * 3 // 4)


def receiving(*chunks: bytes | None):
    """Return an ASGI `receive` of these chunks; None: the client leaves."""
    messages: list[Message] = [
        {"type": "http.disconnect"}
        if chunk is None
        else {"type": "http.request", "body": chunk, "more_body": i < len(chunks) - 1}
        for i, chunk in enumerate(chunks)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    return receive


async def test_small_bodies_are_not_counted():
    memory = BodyMemory(0)
    body = await read_body(receiving(b"x" * SMALL_BYTES), memory)
    assert memory.held == 0
    memory.release(len(body))
    assert memory.held == 0


@pytest.mark.parametrize("chunks", [[PART * 4], [PART] * 4, [PART * 2, b"y"], [PART, PART, b""]])
async def test_a_large_body_is_counted_until_it_is_released(chunks):
    memory = BodyMemory(0)
    body = await read_body(receiving(*chunks), memory)
    assert body == b"".join(chunks)
    assert memory.held == len(body), "alone, it has room, however large"
    memory.release(len(body))
    assert memory.held == 0


async def test_others_are_refused_while_the_memory_is_full():
    memory = BodyMemory(len(PART) * 6)
    first = await read_body(receiving(PART * 4), memory)
    with pytest.raises(Overloaded) as caught:
        await read_body(receiving(*[PART] * 4), memory)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 1.0)
    assert memory.held == len(first), "what was read of it is given back"
    memory.release(len(first))
    assert len(await read_body(receiving(*[PART] * 4), memory)) == len(PART) * 4


async def test_a_client_that_leaves_holds_nothing():
    memory = BodyMemory()
    with pytest.raises(ClientDisconnected):
        await read_body(receiving(PART * 2, None), memory)
    assert memory.held == 0


def test_the_limit_fits_what_models_take():
    assert max_body_bytes(None, config(model(), large())) == 16 * 2**20
    seeing = config(model(), large(abilities=frozenset({"image"})))
    assert max_body_bytes(None, seeing) == 64 * 2**20
    assert max_body_bytes(5, seeing) == 5
