"""One thing that a model's upstream wants otherwise than OpenAI's API has it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["refuses", "renames", "limits", "wants", "context", "unenforced"]


class Adaptation(NamedTuple):
    """One entry of a profile. `what` and `value` depend on the kind.

    refuses: the field at the path `what` is dropped; with a `value`, only where it has that value.
    renames: the field `what` is sent under the name `value`.
    limits: the number in the field `what` is at most `value`.
    wants: the messages or schemas take the form `what`, a `Want`.
    context: prompt and answer have at most `value` tokens together.
    unenforced: decoding does not enforce the schema with the digest `what`; it is asked for in words, and checked.
    """

    kind: Kind
    what: str
    value: Any = None

    @property
    def text(self) -> str:
        """Return the adaptation as `/ready` and the log name it."""
        match self.kind:
            case "refuses":
                return f"{self.what}=dropped" if self.value is None else f"{self.what}={self.value} is dropped"
            case "renames":
                return f"{self.what}={self.value}"
            case "limits" | "context":
                return f"{self.what}<={self.value:g}"
            case "wants":
                return f"wants {self.what}"
            case "unenforced":
                return f"schema {self.what}=unenforced"
