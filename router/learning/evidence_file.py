"""The file that `smallfirst calibrate` writes and a route's `evidence` names: what was learned of its small models."""

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
    """What was learned from one set of labelled calls."""

    version: int = VERSION
    made: date
    route: str
    """whose calls they are: the names of tasks begin with it"""
    fallback: str
    """the model that the small ones are compared with"""
    samples: int = 0
    """how many answers vote, of which the share is the confidence; 0: it is one answer's logprobs"""
    models: Mapping[str, Evidence]
    """by small model"""
    comparisons: Mapping[str, Sequence[Comparison]] = {}
    """by small model: calls that `models` has not learned from"""

    @classmethod
    def load(cls, path: Path) -> EvidenceFile:
        """Read the file.

        Raises:
            ConfigError: it cannot be read, or is not such a file; the message names it and the fault.
        """
        try:
            content = path.read_bytes()
            found = msgspec.json.decode(content, type=_Header).version
            if found != VERSION:
                raise ConfigError(f"{path}: version: expected {VERSION}, got {found}: {_AGAIN}")
            return msgspec.json.decode(content, type=cls)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: no evidence: {error}: {_AGAIN}") from None

    def save(self, path: Path) -> None:
        """Write the file, whole or not at all.

        Raises:
            ConfigError: it cannot be written.
        """
        unfinished = path.with_name(f"{path.name}.unfinished")
        try:
            unfinished.write_bytes(msgspec.json.encode(self) + b"\n")
            unfinished.replace(path)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None


class _Header(Struct):
    version: int


_AGAIN = "`smallfirst calibrate` makes it again"
