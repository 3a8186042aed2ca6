"""The command line of `python -m benchmarks.gpu`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from benchmarks.gpu.money import H100_HOUR_USD
from benchmarks.vllm.options import add_load_options, add_out, fill, whole, whole_list
from router.engine.command import OURS

FULL = {"rounds": 3, "requests": 4, "max_tokens": 128, "prompt_tokens": 256, "fewest": 8}
QUICK = {"rounds": 1, "requests": 2, "max_tokens": 64, "prompt_tokens": 256, "fewest": 4}
TINY = {"rounds": 3, "requests": 3, "max_tokens": 32, "prompt_tokens": 64, "fewest": 6}
CONCURRENCY = (1, 8, 32, 128, 256)
TINY_CONCURRENCY = (1, 4, 16)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: 2, it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="The whole product on one NVIDIA GPU: a model of 8B parameters through `smallfirst serve`, "
        "measured directly and through the gateway at rising concurrency, with one replica and with two.",
    )
    what = parser.add_argument_group("what is served")
    weights = what.add_mutually_exclusive_group()
    weights.add_argument("--model", metavar="PATH_OR_HUB_ID", help="real weights (default: none, so --dummy)")
    weights.add_argument(
        "--dummy",
        action="store_true",
        help="Qwen3-8B's architecture with random weights and a tokenizer made on the spot: no download, no network",
    )
    what.add_argument("--tiny", action="store_true", help="dummy weights of two small layers: to try the whole path")
    what.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu: only with --tiny")
    what.add_argument("--gpu", type=whole(0), default=0, metavar="N", help="which GPU, from 0 (default: 0)")
    what.add_argument("--replicas", type=whole_list, default=[1, 2], metavar="N,N",
                      help="layouts, one after the other, all on the one GPU (default: 1,2)")  # fmt: skip
    what.add_argument("--gpu-memory", type=_share, default=0.9, metavar="SHARE",
                      help="share of the GPU's memory for all replicas together (default: %(default)s)")  # fmt: skip
    what.add_argument("--kv-cache-gib", type=_positive, metavar="GIB",
                      help="KV cache of each of several replicas (default, dummy weights: what is left)")  # fmt: skip
    what.add_argument("--context", type=whole(64), default=4096, help="tokens (default: %(default)s)")
    what.add_argument("--vllm-args", type=_mapping, default={}, metavar="MAPPING",
                      help="as in models.yaml, such as '{quantization: fp8, max_num_seqs: 512}'")  # fmt: skip
    what.add_argument("--start-limit", type=_positive, default=900.0, metavar="S",
                      help="longest start, seconds; the download of real weights is a part of it")  # fmt: skip
    add_load_options(parser, FULL, QUICK, concurrency=CONCURRENCY)
    parser.add_argument("--prompt-tokens", type=whole(1), help=f"of a prompt, about (default: {FULL['prompt_tokens']})")
    parser.add_argument("--fewest", type=whole(1), help=f"requests of a leg, at least (default: {FULL['fewest']})")
    parser.add_argument("--gpu-hour-usd", type=_positive, default=H100_HOUR_USD, metavar="USD",
                        help="price of an hour of the GPU (default: %(default)s, one H100)")  # fmt: skip
    add_out(parser, "benchmarks/results/gpu")
    options = parser.parse_args(argv)
    if options.device == "cpu" and not options.tiny:
        parser.error("--device cpu needs --tiny: 8B parameters on a CPU measure nothing of use")
    if options.tiny and options.model:
        parser.error("--tiny is a model of its own; leave --model out")
    if options.tiny and options.concurrency == list(CONCURRENCY):
        options.concurrency = list(TINY_CONCURRENCY)
    fill(options, QUICK if options.quick else TINY if options.tiny else FULL)
    if options.prompt_tokens + options.max_tokens + 64 > options.context:
        parser.error("--context is too small for --prompt-tokens, --max-tokens and the chat template")
    return options


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _share(text: str) -> float:
    value = _positive(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, at most 1, got {text!r}")
    return value


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("expected a mapping, such as '{quantization: fp8, max_num_seqs: 512}'")
    if refused := sorted(OURS.keys() & found.keys()):
        raise argparse.ArgumentTypeError(f"{refused[0]} is not yours to set here: {OURS[refused[0]]}")
    return found
