"""The page of all models of the catalogue, docs/models.md.

Its last column says what was started in this project's tests. They write docs/families.json:

    {"phi-4-mini": {"answers": ["chat", "stream"], "engine": "vllm 0.32.0 CPU", "date": "2026-11-28"}}

A key is the name of an entry, or of an architecture for all its entries. `answers` is what was asked and answered: some
of chat, stream, json_schema, tool_call, reasoning. `faults`, if there are some: what that engine does wrong for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Literal

from installer import ROOT
from pydantic import BaseModel, ConfigDict, Field
from reference_markdown import code, sentence, table

from router.catalogue.bundled import catalogue, vllm_version
from router.catalogue.entry import CatalogueEntry
from router.catalogue.memory import BYTES_PER_WEIGHT, weights_gb
from server.commands.models import card, in_words, thinks, tools

PAGE = ROOT / "docs" / "models.md"
RESULTS = ROOT / "docs" / "families.json"
COLUMNS = ("Family", "Entry", "Commercial use (licence)", "Parameters", "Context", "Tools", "Thinks",
           "GB bf16 / fp8 / int4", "Card", "Started here")  # fmt: skip

INTRODUCTION = """\
The small models that `smallfirst models` lists. `smallfirst models NAME` prints everything about one of them, with the
sources of each fact, and `smallfirst models --fit 24` which of them fit a GPU with 24 GB, and with how long a context.

## In models.yaml

An entry of the catalogue fills in a model: `tier`, `engine`, the hub id, `context`, and vLLM's options for tool calls,
reasoning, chat template and sampling. `smallfirst add phi-4-mini` writes it and keeps the rest of the file as it is;
`--route auto` also adds it to that route's ladder. Models on one GPU need a share of its memory each, such as
`--gpu-memory-utilization 0.4`.

```yaml
models:
  phi-4-mini:
    source: catalogue:phi-4-mini   # the weights come from the hub
    context: 16384                 # what is written here wins
    vllm_args: {gpu_memory_utilization: 0.5, chat_template: null}   # key by key; null leaves the catalogue's value out
  phi-on-disk:
    catalogue: phi-4-mini          # the same options
    source: /models/Phi-4-mini     # with weights from a folder
```

- `context` is at most 32,768 by default, because the whole context of many models fits no single GPU.
- Models that were not trained to call tools get no `tools` in their `abilities`, so requests with tools go to the next
  rung.
- `smallfirst check --verbose` prints every model with what the catalogue filled in.
- `smallfirst check` and `smallfirst serve` print one line for each model that is not for commercial use.
- Any other hub id works as well, with the options that you write.
- **Less memory**: `vllm_args: {quantization: fp8}` makes vLLM keep the weights in fp8 on a GPU. For int4, name
  quantised weights as the `source` beside `catalogue`.
- **Without a network**: copy the folder that `hf download microsoft/Phi-4-mini-instruct --local-dir Phi-4-mini` writes
  elsewhere, and name it as the `source`. A relative folder begins with `./`. A hub id whose files are in the cache of
  the hub (`HF_HOME`) starts without a network, too."""

ADVICE = """\
These are choices by licence, engine and format. We have not compared the quality of answers: measure it on your own
calls with [`smallfirst calibrate`](routing.md#learning-from-your-own-calls)."""

EXPLANATION = """\
- **Tools**: the tool parser of vLLM; or `in text`: no parser of vLLM fits the model's format, so the calls arrive as
  text and the gateway recognises them; or no: the model was not trained to call tools.
- **Thinks**: `on` and `off` are defaults that a request can change. In brackets: the reasoning parser of vLLM.
- **GB**: the size of the weights. Embeddings and output layer count 2 bytes a parameter, the rest 2 (bf16), 1 (fp8) or
  0.52 (int4 in groups of 128). Of models that also see or hear, only the language model is loaded.
- **Card**: the smallest of 8, 12, 16, 24, 40 and 80 GB that takes the model in bf16 with its default `context`. The
  estimate is in `router/catalogue/memory.py`.
- **Started here**: what this project's tests asked of the architecture, with small random weights on a CPU; they say
  nothing about the quality of answers."""


ADVICE_ROWS = (
    ("Phi", "`phi-4-mini`",
     "MIT. It needs our chat template and the gateway's reading of calls, which the entry has."),
    ("Nemotron-H", "`nemotron-3-nano-4b`",
     "Nemotron-H is for research only, its successor is not. vLLM's tool parser loses calls that are required and"
     " streamed."),
    ("SmolLM2", "`smollm2-1.7b`; `smollm3-3b` if there are 12 GB",
     "Apache-2.0. The two smaller SmolLM2 were not trained to call tools. SmolLM3 also thinks, and has 65,536 tokens."),
    ("Hymba", "`granite-4.0-h-1b`",
     "vLLM does not have Hymba, so it answers one request at a time. Granite 4 H is a hybrid of its size in vLLM."),
    ("DeepSeek-R1-Distill", "`deepseek-r1-distill-qwen-1.5b`; `smollm3-3b` for tools",
     "MIT. It always thinks and was not trained to call tools. SmolLM3 was, and a request can turn its thoughts off."),
    ("xLAM-2", "`qwen3-4b-instruct-2507`",
     "xLAM-2 is for research only. Qwen3 is Apache-2.0, and vLLM's tool parser for it fits."),
)  # fmt: skip
"""for who knows a family: which entry to take, and why"""


class FamilyResult(BaseModel):
    """What a started model answered."""

    model_config = ConfigDict(extra="forbid")

    answers: list[Literal["chat", "stream", "json_schema", "tool_call", "reasoning"]] = Field(min_length=1)
    engine: str
    date: date
    faults: list[str] = []


def catalogue_page() -> str:
    """Return the whole page."""
    entries = list(catalogue().values())
    results = read_results(RESULTS)
    as_of = max(entry.as_of for entry in entries)
    rows = (_row(entry, results) for entry in entries)
    return "\n\n".join(
        [
            "<!-- Made from the catalogue by `make reference`: do not edit. -->",
            "# Models",
            INTRODUCTION,
            "## Which to take",
            table(("Family", "Take", "Why"), ADVICE_ROWS),
            ADVICE,
            "## The catalogue",
            f"Facts of {as_of}. Parsers and options are those of vLLM {vllm_version()}.",
            table(COLUMNS, rows),
            EXPLANATION,
            "## Notes",
            "\n".join(_notes(entries, results)) + "\n",
        ]
    )


def read_results(path: Path) -> Mapping[str, FamilyResult]:
    """Return what was started, by the name of an entry or an architecture. Without the file, nothing was."""
    if not path.exists():
        return {}
    results = {key: FamilyResult.model_validate(value) for key, value in json.loads(path.read_text("utf-8")).items()}
    known = {*catalogue(), *(entry.architecture for entry in catalogue().values())}
    if unknown := results.keys() - known:
        raise ValueError(f"{path}: not in the catalogue: {', '.join(sorted(unknown))}")
    return results


def started(entry: CatalogueEntry, results: Mapping[str, FamilyResult]) -> str:
    """Return what was started and answered."""
    result = results.get(entry.name) or results.get(entry.architecture)
    if result is None:
        return "not started"
    return f"{', '.join(answer.replace('_', ' ') for answer in result.answers)} ({result.engine}, {result.date})"


def _row(entry: CatalogueEntry, results: Mapping[str, FamilyResult]) -> tuple[str, ...]:
    parser = f" ({code(entry.reasoning_parser)})" if entry.reasoning_parser else ""
    return (
        entry.family,
        f"[{entry.name}]({entry.sources[0]})",
        f"{entry.licence.words} ({entry.licence.name})",
        in_words(entry.parameters),
        f"{entry.context:,}",
        code(entry.tool_parser) if entry.tools == "parsed" else tools(entry),
        thinks(entry) + parser,
        " / ".join(f"{weights_gb(entry, precision):.1f}" for precision in BYTES_PER_WEIGHT),
        card(entry),
        started(entry, results),
    )


def _notes(entries: list[CatalogueEntry], results: Mapping[str, FamilyResult]) -> Iterator[str]:
    for entry in entries:
        missing = f"No source was found for: {', '.join(entry.unverified)}" if entry.unverified else ""
        result = results.get(entry.name)
        faults = [f"Seen with {result.engine}: {fault}" for fault in result.faults] if result else []
        if words := " ".join(map(sentence, filter(None, (*entry.notes, *faults, missing)))):
            yield f"- **{entry.name}**: {words}"
