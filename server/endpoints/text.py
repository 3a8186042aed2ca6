"""The handler of every endpoint that sends requests to models: read, dispatch, answer."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from router.dispatcher import Dispatcher
from router.errors import ApiError
from router.record import RequestRecord
from router.types import ChatCall
from server.admission import Admission
from server.auth import Keyring
from server.deadline import Deadline
from server.endpoints.decode import decode
from server.endpoints.registry import TextEndpoint
from server.http import disconnect, envelope
from server.http.keepalive import KeepAlive
from server.http.middleware import read_body
from server.http.relay import money_headers, relay, smallfirst_headers, summary


class TextHandler:
    """ASGI app that handles a request from its first byte to the last byte of the answer."""

    def __init__(self, served: TextEndpoint, keyring: Keyring, admission: Admission, dispatcher: Dispatcher) -> None:
        self._served = served
        self._keyring = keyring
        self._admission = admission
        self._dispatcher = dispatcher

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and report its error to the client if the connection still allows it."""
        record: RequestRecord = scope["state"][envelope.RECORD]
        record.endpoint = self._served.endpoint.path
        try:
            self._keyring.check(scope["headers"])
            with disconnect.cancel_on_disconnect(scope):
                raw = await read_body(receive, self._admission.bodies)
                try:
                    await self._answer(self._decode(raw, scope), record, send)
                finally:
                    self._admission.bodies.release(len(raw))
            record.outcome = "ok"
        except ApiError as error:
            await _report(error, record, scope, receive, send)
        except asyncio.CancelledError:  # only the server cancels here, when the grace period of its shutdown is over
            await _report(envelope.shutting_down(), record, scope, receive, send)

    def _decode(self, raw: bytes, scope: Scope) -> ChatCall:
        return decode(self._served, raw)

    async def _answer(self, call: ChatCall, record: RequestRecord, send: Send) -> None:
        record.stream = call.stream
        route = self._dispatcher.route(call.model)
        record.route = route.name
        async with (
            Deadline(call.routing.deadline_ms, record.started) as deadline,
            self._admission,
            KeepAlive(record, send, stream=call.stream) as silence,
            self._dispatcher.dispatch(call, route, record) as reply,
        ):
            if reply.events is None:
                deadline.disarm()  # from here on, the client sets the pace
            await silence.finish_comment()
            await relay(reply, record, silence.send if call.stream else send)


async def _report(error: ApiError, record: RequestRecord, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the error as a response, or as the last event of a stream that has begun."""
    envelope.set_outcome(record, error)
    record.structured = ""  # it describes accepted answers only
    if record.status:
        await send({"type": "http.response.body", "body": summary(record) + envelope.sse_error(error)})
        return
    known = smallfirst_headers(record) + (money_headers(record) if record.attempts else [])
    headers = {name.decode(): value.decode() for name, value in known}
    await envelope.error_response(error, headers)(scope, receive, send)
