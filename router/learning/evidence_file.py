"""The evidence file of a route. `smallfirst calibrate` writes it, and the route's `evidence` names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from router.errors import ConfigError
from router.learning.evidence import Comparison, Evidence

VERSION = 1


class EvidenceFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The evidence from one set of labelled calls."""

    version: int = VERSION
    made: date
    route: str
    """the route of the calls; the names of tasks begin with it"""
    fallback: str
    """the model that the small ones are compared with"""
    samples: int = 0
    """how many answers vote; 0 if the confidence comes from the logprobs of one answer"""
    models: Mapping[str, Evidence]
    """by small model"""
    comparisons: Mapping[str, Sequence[Comparison]] = {}
    """by small model: calls that were not learned from"""

    @classmethod
    def load(cls, path: Path) -> EvidenceFile:
        """Read the file.

        Raises:
            ConfigError: the file cannot be read or is not an evidence file. The message names the file and the fault.
        """
        try:
            content = path.read_bytes()
            found = msgspec.json.decode(content, type=_Header).version
            if found != VERSION:
                raise ConfigError(f"{path}: version: expected {VERSION}, got {found}: {_HOW_TO_RENEW}")
            return msgspec.json.decode(content, type=cls)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: no evidence: {error}: {_HOW_TO_RENEW}") from None

    def save(self, path: Path) -> None:
        """Write the file atomically.

        Raises:
            ConfigError: the file cannot be written.
        """
        unfinished = path.with_name(f"{path.name}.unfinished")
        try:
            unfinished.write_bytes(msgspec.json.encode(self) + b"\n")
            unfinished.replace(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


class _Header(Struct):
    version: int


_HOW_TO_RENEW = "`smallfirst calibrate` makes it again"
