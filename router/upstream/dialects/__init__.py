"""Dialects: how each kind of engine wants to be asked, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping

from router.types import Engine
from router.upstream.base import Dialect
from router.upstream.dialects.openai import OpenAIDialect
from router.upstream.dialects.vllm import VllmDialect

DIALECTS: Mapping[Engine, Dialect] = {"vllm": VllmDialect(), "openai": OpenAIDialect()}
