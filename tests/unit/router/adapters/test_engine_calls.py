"""What an engine's answer to a load means."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.adapters.engine_calls import AdapterRefused, error_message, load_adapter, unload_adapter
from router.errors import EngineError
from tests.support.adapter_engine import AdapterEngine


async def test_a_refusal_has_vllms_words(tmp_path: Path) -> None:
    async with AdapterEngine(tmp_path / "sock") as engine:
        engine.refuses = "vLLM does not yet support DoRA."
        with pytest.raises(AdapterRefused, match=r"^vLLM does not yet support DoRA\.$"):
            await load_adapter(engine.socket, "orders@1", tmp_path)
        assert engine.loaded == {}


async def test_what_is_not_loaded_can_be_unloaded(tmp_path: Path) -> None:
    async with AdapterEngine(tmp_path / "sock") as engine:
        await unload_adapter(engine.socket, "orders@1")
        assert engine.calls == [("unload", "orders@1")]


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n"])
async def test_an_engine_that_hangs_up_has_not_answered(tmp_path: Path, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "sock"):
        with pytest.raises(EngineError, match="did not answer load_lora_adapter") as caught:
            await load_adapter(tmp_path / "sock", "orders@1", tmp_path)
    assert not isinstance(caught.value, AdapterRefused)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"error": {"message": "too\\n large"}}', "too large"),
        (b'{"message": "too large"}', "too large"),
        (b'{"detail": "x"}', '{"detail": "x"}'),
        (b"Internal Server Error", "Internal Server Error"),
        (b'{"error": "x"}', '{"error": "x"}'),
    ],
)
def test_the_message_of_an_error_is_found(content: bytes, says: str) -> None:
    assert error_message(content) == says


@given(st.binary())
def test_any_error_has_a_message(content: bytes) -> None:
    assert len(error_message(content)) <= 500
