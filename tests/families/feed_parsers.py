"""`python -m tests.families.feed_parsers JOBS RESULTS`: feeds texts to vLLM's parsers as its chat endpoint does.

A program of its own: its imports take half a minute, and once is enough for all families.
"""

from __future__ import annotations

import json
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Piece = tuple[str, list[int]]
"""a delta's text and tokens"""


def main(jobs: Path, results: Path) -> None:
    """Read a list of jobs, write a list of what the parsers made of each."""
    loaded: dict[str, Any] = {}
    found = []
    for job in json.loads(jobs.read_text(encoding="utf-8")):
        try:
            found.append(feed(job, _tokenizer(loaded, job["folder"])))
        except Exception:  # a fault of one parser is this job's result
            found.append({"error": traceback.format_exc()})
    results.write_text(json.dumps(found), encoding="utf-8")


def feed(job: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return the thoughts, content and calls of one answer."""
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser.parser_manager import ParserManager

    parser_class = ParserManager.get_parser(
        tool_parser_name=job["tool_parser"],
        reasoning_parser_name=job["reasoning_parser"],
        enable_auto_tools=job["tool_parser"] is not None,
        tokenizer=tokenizer,
    )
    if parser_class is None:
        raise ValueError("neither a tool parser nor a reasoning parser")
    request = ChatCompletionRequest.model_validate(job["request"])
    switches = request.chat_template_kwargs or {}
    parser = parser_class(tokenizer, request.tools, chat_template_kwargs=switches)
    request = parser.adjust_request(request)
    prompt = tokenizer.apply_chat_template(
        request.messages,
        tools=job["request"].get("tools"),
        chat_template=job["template"] and Path(job["template"]).read_text(encoding="utf-8"),
        add_generation_prompt=True,
        tokenize=False,
        **switches,
    )
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    pieces = list(cut(job["said"], job["pieces"], tokenizer, skip_special=request.skip_special_tokens))
    if job["pieces"] == "whole":
        [(text, ids)] = pieces
        parser.set_prompt_token_ids(prompt_ids)
        reasoning, content, calls = parser.parse(text, request, enable_auto_tools=True, model_output_token_ids=ids)
        written = [{"name": call.name, "arguments": call.arguments} for call in calls or []]
        return {"reasoning": reasoning, "content": content, "calls": written}
    return _collect(parser, request, prompt_ids, pieces)


def cut(said: str, size: str, tokenizer: Any, *, skip_special: bool) -> Iterator[Piece]:
    """Yield the answer in pieces of N characters or tokens, or whole. A token of the family's own is never cut.

    vLLM leaves special tokens out of the text, unless the request or the parser asked for them.
    """
    own = tokenizer.added_tokens_decoder.values()
    hidden = {str(token) for token in own if token.special} if skip_special else set()
    whole = "|".join(map(re.escape, sorted(map(str, own), key=len, reverse=True)))
    parts = [part for part in re.split(f"({whole})", said) if part]
    count, unit = ("1", "whole") if size == "whole" else size.split(" ", 1)
    if unit == "whole":
        text = "".join(part for part in parts if part not in hidden)
        yield text, tokenizer.encode(said, add_special_tokens=False)
    elif unit.startswith("char"):
        for part in parts:
            step = len(part) if re.fullmatch(whole, part) else int(count)
            texts = [part[start : start + step] for start in range(0, len(part), step)]
            for text in texts:
                yield "" if text in hidden else text, tokenizer.encode(text, add_special_tokens=False)
    else:
        yield from _by_tokens(tokenizer.encode(said, add_special_tokens=False), int(count), tokenizer, skip_special)


def _by_tokens(ids: list[int], count: int, tokenizer: Any, skip_special: bool) -> Iterator[Piece]:
    """Yield N tokens at a time. A character whose bytes are incomplete comes with its last token, as from vLLM."""
    decoded = sent = ""
    for start in range(0, len(ids), count):
        few = ids[start : start + count]
        decoded = tokenizer.decode(ids[: start + count], skip_special_tokens=skip_special)
        whole = decoded if start + count >= len(ids) else decoded.rstrip("\N{REPLACEMENT CHARACTER}")
        yield whole[len(sent) :], few
        sent = whole


def _collect(parser: Any, request: Any, prompt_ids: list[int], pieces: list[Piece]) -> dict[str, Any]:
    """Feed the pieces and put the deltas together, as a client does."""
    said = {"reasoning": "", "content": ""}
    calls: dict[int, dict[str, str]] = {}
    for number, (text, ids) in enumerate(pieces, 1):
        delta = parser.parse_delta(text, ids, request, prompt_ids, finished=number == len(pieces))
        if delta is None:
            continue
        said["reasoning"] += delta.reasoning or ""
        said["content"] += delta.content or ""
        for part in delta.tool_calls or []:
            call = calls.setdefault(part.index, {"name": "", "arguments": ""})
            call["name"] += (part.function and part.function.name) or ""
            call["arguments"] += (part.function and part.function.arguments) or ""
    return {**{key: text or None for key, text in said.items()}, "calls": [calls[index] for index in sorted(calls)]}


def _tokenizer(loaded: dict[str, Any], folder: str) -> Any:
    from vllm.tokenizers import get_tokenizer

    if folder not in loaded:
        loaded[folder] = get_tokenizer(folder)
    return loaded[folder]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
