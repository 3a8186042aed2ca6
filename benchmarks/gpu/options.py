"""The command line of `python -m benchmarks.gpu`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import yaml

from benchmarks.common.options import add_load, add_out, fill_defaults, positive, share, whole, whole_list
from benchmarks.gpu.architecture import SIZES
from benchmarks.gpu.money import H100_HOUR_USD
from router.engine.command import RESERVED_ARGS

FULL = {"rounds": 3, "requests": 4, "max_tokens": 128, "prompt_tokens": 256, "fewest": 8}
QUICK = {"rounds": 1, "requests": 2, "max_tokens": 64, "prompt_tokens": 256, "fewest": 4}
TINY = {"rounds": 3, "requests": 3, "max_tokens": 32, "prompt_tokens": 64, "fewest": 6}
CONCURRENCY = (1, 8, 32, 128, 256)
TINY_CONCURRENCY = (1, 4, 16)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Raises:
        SystemExit: with status 2 if it is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description="The whole product on one NVIDIA GPU: a model of 8B or 4B parameters through `smallfirst serve`, "
        "asked directly and through the gateway at rising concurrency, with one replica and with two.",
    )
    what = parser.add_argument_group("what is served")
    weights = what.add_mutually_exclusive_group()
    weights.add_argument("--model", metavar="PATH_OR_HUB_ID", help="real weights (default: none, so --dummy)")
    weights.add_argument(
        "--dummy",
        action="store_true",
        help="Qwen3's architecture with random weights and a tokenizer made on the spot: no download, no network",
    )
    what.add_argument("--size", choices=tuple(SIZES), default="8b", help="of the dummy weights (default: 8b)")
    what.add_argument("--tiny", action="store_true", help="dummy weights of two small layers, to try the whole path")
    what.add_argument("--device", choices=("gpu", "cpu"), default="gpu", help="cpu only with --tiny")
    what.add_argument("--gpu", type=whole(0), default=0, metavar="N", help="which GPU, from 0 (default: 0)")
    what.add_argument("--replicas", type=whole_list, default=[1, 2], metavar="N,N",
                      help="replicas to measure, one number after the other, on one GPU (default: 1,2)")  # fmt: skip
    what.add_argument("--fp8", action="store_true", help="measure one replica in fp8, too, against bf16")
    what.add_argument("--gpu-memory", type=_positive_share, default=0.9, metavar="SHARE",
                      help="share of the GPU's memory for all replicas together (default: %(default)s)")  # fmt: skip
    what.add_argument("--kv-cache-gib", type=positive, metavar="GIB",
                      help="KV cache of each of several replicas (default for dummy weights: all)")  # fmt: skip
    what.add_argument("--context", type=whole(64), default=4096, help="tokens (default: %(default)s)")
    what.add_argument("--vllm-args", type=_mapping, default={}, metavar="MAPPING",
                      help="as in models.yaml, such as '{quantization: fp8, max_num_seqs: 512}'")  # fmt: skip
    what.add_argument("--start-limit", type=positive, default=900.0, metavar="S",
                      help="longest start in seconds, including the download of real weights")  # fmt: skip
    add_load(parser, FULL, QUICK, concurrency=CONCURRENCY)
    parser.add_argument("--prompt-tokens", type=whole(1), help=f"about, of a prompt (default: {FULL['prompt_tokens']})")
    parser.add_argument("--fewest", type=whole(1), help=f"least requests of a sample (default: {FULL['fewest']})")
    parser.add_argument("--gpu-hour-usd", type=positive, default=H100_HOUR_USD, metavar="USD",
                        help="price of an hour of the GPU (default: %(default)s, one H100)")  # fmt: skip
    add_out(parser, "benchmarks/results/gpu")
    options = parser.parse_args(argv)
    if options.device == "cpu" and not options.tiny:
        parser.error("--device cpu needs --tiny: 8B parameters are too slow on a CPU")
    if options.tiny and options.model:
        parser.error("--tiny has its own model: leave out --model")
    if options.fp8 and (options.device == "cpu" or "quantization" in options.vllm_args):
        parser.error("--fp8 needs a GPU, and no `quantization` in --vllm-args")
    if options.tiny and options.concurrency == list(CONCURRENCY):
        options.concurrency = list(TINY_CONCURRENCY)
    fill_defaults(options, QUICK if options.quick else TINY if options.tiny else FULL)
    if options.prompt_tokens + options.max_tokens + 64 > options.context:
        parser.error("--context is too small for --prompt-tokens, --max-tokens and the chat template")
    return options


def _positive_share(text: str) -> float:
    positive(text)
    return share(text)


def _mapping(text: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError("expected a mapping, such as '{quantization: fp8, max_num_seqs: 512}'")
    if refused := sorted(RESERVED_ARGS.keys() & found.keys()):
        raise argparse.ArgumentTypeError(f"{refused[0]} cannot be set here: {RESERVED_ARGS[refused[0]]}")
    return found
