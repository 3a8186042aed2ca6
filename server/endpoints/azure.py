"""Azure's paths, `/openai/deployments/{model}/chat/completions?api-version=...`: the path names the model.

Azure's clients send the key in the header `api-key`, which every endpoint accepts. The api-version is ignored.
"""

from __future__ import annotations

from starlette.types import Scope

from router.types import ChatCall
from server.endpoints.decode import decode
from server.endpoints.text import TextHandler

PREFIX = "/openai/deployments/{deployment:path}/"
"""a model's name may contain slashes"""


class DeploymentHandler(TextHandler):
    """The handler of one endpoint at Azure's path. The model of the path is asked, as at Azure, not the body's."""

    def _decode(self, raw: bytes, scope: Scope) -> ChatCall:
        return decode(self._served, raw, model=scope["path_params"]["deployment"])
