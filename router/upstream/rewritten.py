"""An exchange whose answer a dialect brings into OpenAI's form."""

from __future__ import annotations

from router.upstream.base import Exchange, Rewrite


def rewritten(exchange: Exchange, rewrite: Rewrite | None) -> Exchange:
    """Return the exchange with its answer rewritten, or the same one if there is nothing to rewrite."""
    return exchange if rewrite is None else RewrittenExchange(exchange, rewrite)


class RewrittenExchange:
    """Implements `Exchange` on top of another one."""

    __slots__ = ("_exchange", "_rewrite", "is_stream", "retry_after_s", "status")

    def __init__(self, exchange: Exchange, rewrite: Rewrite) -> None:
        self._exchange, self._rewrite = exchange, rewrite
        self.status, self.retry_after_s, self.is_stream = exchange.status, exchange.retry_after_s, exchange.is_stream

    async def read(self) -> bytes:
        """Return the whole body, rewritten."""
        return self._rewrite(await self._exchange.read())

    async def next_events(self, within_s: float) -> list[bytes]:
        """Return the payloads of the next events, each rewritten."""
        return [self._rewrite(event) for event in await self._exchange.next_events(within_s)]

    def close(self) -> None:
        """Close the connection unless the answer was read to its end."""
        self._exchange.close()
