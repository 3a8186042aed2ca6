"""How many tokens a client has of an answer: the events are fewer where an engine put several tokens into one."""

from __future__ import annotations

import msgspec

from router.errors import ApiError
from router.replicas.pool import Lease
from router.upstream.base import Upstream
from router.upstream.dialects import DIALECTS

LIMIT_S = 5.0


class _Counted(msgspec.Struct):
    count: int


async def count_tokens(upstream: Upstream, lease: Lease, text: str) -> int | None:
    """Return the number of a text's tokens, as the lease's engine counts them; None: it does not say.

    Only engines that smallfirst started are asked: another URL may be a proxy that knows nothing outside `/v1`.
    """
    model = lease.model
    path = DIALECTS[model.engine].tokenize_path
    if path is None or not model.managed:
        return None
    body = {"model": model.upstream_name, "prompt": text, "add_special_tokens": False}
    try:
        exchange = await upstream.send(
            "POST",
            lease.replica.url.removesuffix("/v1") + path,
            headers={"Content-Type": "application/json"},
            body=msgspec.json.encode(body),
            connect_s=model.timeouts.connect_s,
            within_s=LIMIT_S,
        )
    except ApiError:
        return None
    try:
        return msgspec.json.decode(await exchange.read(), type=_Counted).count if exchange.status == 200 else None
    except (ApiError, msgspec.MsgspecError):
        return None
    finally:
        exchange.close()
