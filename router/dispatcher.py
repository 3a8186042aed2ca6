"""Takes calls to the pools of one configuration."""

from __future__ import annotations

from router.config.models import Route
from router.dispatch import Dispatch
from router.record import RequestRecord
from router.services import Services
from router.types import ChatCall


class Dispatcher(Services):
    """The entrance for all requests."""

    __slots__ = ()

    def route(self, name: str) -> Route:
        """Return the route that a request's `model` names.

        Raises:
            NotFound: no route and no model has that name, or it is left out here.
        """
        return self.config.resolve(name)

    def dispatch(self, call: ChatCall, route: Route, record: RequestRecord) -> Dispatch:
        """Return an async context manager that yields the reply; the record says what was decided, tried and spent."""
        return Dispatch(self, call, route, record)
