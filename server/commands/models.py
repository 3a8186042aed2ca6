"""`smallfirst models`: print the catalogue of small models, one of them with all that is known, or what fits a GPU."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from router.catalogue.bundled import catalogue, find
from router.catalogue.entry import CatalogueEntry
from router.catalogue.memory import (
    BYTES_PER_WEIGHT,
    MEMORY_SHARE,
    default_context,
    kv_bytes_per_token,
    longest_context,
    sequence_gb,
    smallest_card_gb,
    weights_gb,
)
from router.catalogue.resolve import settings
from router.errors import ConfigError
from router.upstream.dialects import DIALECTS
from server.commands.base import Subparsers, align

HEADER = ("name", "parameters", "context", "tools", "thinks", *BYTES_PER_WEIGHT, "card", "commercial use")
LEGEND = """
GB of weights in three precisions; card: the smallest that takes bf16 and a context of at most 32,768 tokens.
tools: vLLM's parser, or `in text`: the gateway recognises the calls. thinks: `on` and `off` are defaults of requests.
`smallfirst models NAME` prints everything, `smallfirst add NAME` adds one to models.yaml."""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command's options."""
    parser = subparsers.add_parser("models", help="print the small models that we know, and which of them fit a GPU")
    parser.add_argument("name", nargs="?", metavar="NAME", help="print everything about this model")
    parser.add_argument("--fit", type=_card_size, metavar="GB",
                        help="print what fits a GPU with this much memory: at which precision, and with how long a "
                             "context")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the catalogue."""
    try:
        entries = [find(arguments.name)] if arguments.name else list(catalogue().values())
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if arguments.fit is not None:
        print(fit_table(entries, arguments.fit))  # noqa: T201
    elif arguments.name:
        print(details(entries[0]))  # noqa: T201
    else:
        print(model_table(entries))  # noqa: T201
    return 0


def model_table(entries: Collection[CatalogueEntry]) -> str:
    """Return one line for each model, and what the columns mean."""
    rows = [
        (
            entry.name,
            in_words(entry.parameters),
            f"{entry.context:,}",
            tools(entry),
            thinks(entry),
            *(f"{weights_gb(entry, precision):.1f}" for precision in BYTES_PER_WEIGHT),
            card(entry),
            f"{entry.licence.words} ({entry.licence.name})",
        )
        for entry in entries
    ]
    return "\n".join([*align([HEADER, *rows]), LEGEND])


def fit_table(entries: Collection[CatalogueEntry], card_gb: float) -> str:
    """Return the longest context of each model on a card, for each precision."""
    rows = [("model", *BYTES_PER_WEIGHT)]
    too_large = []
    for entry in entries:
        contexts = [longest_context(entry, precision, card_gb) for precision in BYTES_PER_WEIGHT]
        if any(contexts):
            rows.append((entry.name, *(_tokens(tokens, entry) for tokens in contexts)))
        else:
            too_large.append(entry.name)
    lines = [f"Longest context of one request on a card of {card_gb:g} GB:", "", *align(rows)] if len(rows) > 1 else []
    if too_large:
        lines += textwrap.wrap(f"Too large for {card_gb:g} GB: {', '.join(too_large)}", 118, break_on_hyphens=False)
    formula = (
        f"\nEstimates: {MEMORY_SHARE:.0%} of the card, less the weights and 1.5 GB for CUDA, holds the KV cache of one"
        "\nrequest. Shorter contexts serve more requests at a time."
    )
    return "\n".join([*lines, formula])


def details(entry: CatalogueEntry) -> str:
    """Return everything about one model, and its entry for models.yaml."""
    facts = align([(f"  {name}", value) for name, value in _facts(entry)])
    lists = {
        "Notes": entry.notes,
        f"Sources, of {entry.as_of}": entry.sources,
        "No source was found for": [", ".join(entry.unverified)] if entry.unverified else [],
    }
    parts = [f"{entry.name}: {entry.hub_id}", *facts]
    for title, items in lists.items():
        if items:
            parts += ["", f"{title}:"]
            for item in items:
                parts += textwrap.wrap(item, 116, initial_indent="  - ", subsequent_indent="    ",
                                       break_long_words=False, break_on_hyphens=False)  # fmt: skip
    parts += ["", "In models.yaml, under `models`:", "", f"  {entry.name}:", f"    source: catalogue:{entry.name}"]
    if entry.own_code:
        key = DIALECTS[entry.engine].arguments_key
        parts.append(
            f"    {key}: {{trust_remote_code: true}}   # runs the code that comes with the weights: read it first"
        )
    parts += ["", "It stands for:", "", as_yaml({entry.name: settings(entry)}).rstrip()]
    return "\n".join(parts)


def as_yaml(models: Mapping[str, Any]) -> str:
    """Return models as they are written in models.yaml, below `models:`."""
    text = yaml.safe_dump(dict(models), sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)
    return textwrap.indent(text, "  ")


def in_words(parameters: int) -> str:
    """Return a number of parameters as model names have it."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 999.5e6 else f"{parameters / 1e6:.0f}M"


def tools(entry: CatalogueEntry) -> str:
    """Return how the model's tool calls are recognised, or `no`."""
    match entry.tools:
        case "parsed":
            return str(entry.tool_parser)
        case "in text":
            return "in text"
    return "no"


def thinks(entry: CatalogueEntry) -> str:
    """Return whether the model writes thoughts."""
    return "no" if entry.thinking == "never" else entry.thinking


def card(entry: CatalogueEntry) -> str:
    """Return the smallest card that takes the model as `source: catalogue:..` starts it."""
    size = smallest_card_gb(entry)
    return f"{size} GB" if size else "more"


def _facts(entry: CatalogueEntry) -> Iterator[tuple[str, str]]:
    yield "family", entry.family
    yield "parameters", f"{entry.parameters:,}"
    yield "licence", entry.licence.name
    yield "commercial use", entry.licence.words
    yield "context", f"{entry.context:,} tokens; default here {default_context(entry):,}"
    yield "engine", f"{entry.engine}, {entry.architecture}"
    yield (
        "tool calls",
        {
            "parsed": f"by vLLM's parser {entry.tool_parser}",
            "in text": "as text, which the gateway recognises",
            "untrained": "no: the model was not trained for them",
        }[entry.tools],
    )
    yield "thinks", thinks(entry) + (f"; vLLM's parser {entry.reasoning_parser}" if entry.reasoning_parser else "")
    for precision in BYTES_PER_WEIGHT:
        yield f"weights in {precision}", f"{weights_gb(entry, precision):.1f} GB"
    yield "KV cache", _kv_cache(entry)
    yield "smallest card", f"{card(entry)} (bf16)"


def _kv_cache(entry: CatalogueEntry) -> str:
    """Return what a sequence of the default context needs, and each token of it if there is no window in all layers."""
    context, per_token = default_context(entry), kv_bytes_per_token(entry)
    sequence = f"{sequence_gb(entry, context):.2f} GB for {context:,} tokens"
    return f"{per_token:,} bytes a token; {sequence}" if per_token else sequence


def _tokens(tokens: int, entry: CatalogueEntry) -> str:
    return f"{tokens:,}" + (" (all)" if tokens == entry.context else "") if tokens else "-"


def _card_size(text: str) -> float:
    try:
        size = float(text.lower().removesuffix("gb"))
    except ValueError:
        size = 0.0
    if not 0 < size < float("inf"):
        raise argparse.ArgumentTypeError(f"expected the memory of a GPU in GB, such as 24, got {text!r}")
    return size
