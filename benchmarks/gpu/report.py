"""The report of a run on a GPU, for people."""

from __future__ import annotations

from typing import Any

from benchmarks.common.machine import machine_line
from benchmarks.common.report import table
from benchmarks.common.stats import Estimate
from benchmarks.gpu.money import FORMULA
from benchmarks.vllm.report import background_warning

DUMMY = (
    "**The weights are random numbers: throughput only.** Speed depends on the shape of the weights, which is that of"
    " the real model. The answers mean nothing, so this report says nothing about quality."
)
TINY = "**This only tries the whole path, with random weights in two tiny layers. No figure is that of a real model.**"
HOW = (
    "Direct requests go to vLLM over the Unix sockets that the gateway also uses, divided equally. Both targets are the"
    " same processes, get the same requests and take turns: direct, gateway, gateway, direct; every second round is in"
    " the opposite order. With fewer than three rounds there is no interval. A new stream starts as soon as one ends."
    " All start at once at the beginning of a sample, which gives the longest times to the first token. Every answer"
    " has a fixed number of tokens (`ignore_eos`, temperature 0), which was checked. Prompts begin with digits that"
    " were never used before. With fewer than 100 streams, p99 is nearly the maximum. The gap is a stream's time after"
    " its first token divided by its other tokens."
)
LAYOUT_HEAD = (
    *("at a time", "tokens/s direct", "gateway", "gateway / direct (95%)", "first token p50 ms direct", "gateway"),
    *("p99 direct", "gateway", "gap p50 ms direct", "gateway", "gateway CPU us/request", "us/event", "of a core"),
)
COMPARISON_HEAD = ("at a time", "layout", "against", "throughput ratio", "first token p50 ms", "gap p50 ms")
CLIENT_BOTTLENECK = 0.8
"""share of one core from which on the load client may be the bottleneck"""


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: there is a report.png."""
    lines = [f"# smallfirst and vLLM with {report['model']}", ""]
    if report["dummy"]:
        lines += [TINY if report["tiny"] else DUMMY, ""]
    lines += [f"- {line}" for line in _facts(report)]
    lines += ["", HOW, ""]
    if picture:
        lines += ["![the same as a picture](report.png)", ""]
    for layout in report["layouts"]:
        lines += _layout(layout)
    if report["comparison"]:
        lines += _comparison(report["comparison"])
    lines += _money(report)
    lines += ["## What was run", ""]
    for layout in report["layouts"]:
        lines += ["```yaml", layout["models_yaml"].rstrip(), "```", ""]
        lines += [f"`{command}`\n" for command in layout["commands"]]
    return "\n".join([*lines, "Every raw sample is in report.json.", ""])


def _facts(report: dict[str, Any]) -> list[str]:
    device = "the CPU"
    if gpu := report["gpu"]:
        device = f"{gpu['name']}, {gpu['memory_gib']:.1f} GiB, limit {gpu['power_limit_w']} W, driver {gpu['driver']}"
    model = report["model"]
    if report["dummy"]:
        model += f", {_count(report['parameters_of_model'])} parameters ({report['source']})"
    return [
        f"Device: {device}.",
        f"Model: {model}.",
        f"Machine: {machine_line(report)}.",
        "Parameters: " + ", ".join(f"{name} {value}" for name, value in report["options"].items()) + ".",
    ]


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _layout(layout: dict[str, Any]) -> list[str]:
    loads = layout["loads"]
    cache = ", ".join(f"{one['kv_cache_tokens']}" for one in layout["engines"])
    sizes = f"Prompts of {loads[0]['prompt_tokens']} tokens, answers of {loads[0]['max_tokens']}."
    started = f"Ready after {layout['started_in_s']:.0f} s, {layout['restarts_until_ready']} restarts."
    memory = f" GPU memory in use: {layout['gpu_memory_used_mib']} MiB." if layout["gpu_memory_used_mib"] else ""
    busy = max(load["client_busy_most"] for load in loads)
    doubt = " **So the client itself may be the bottleneck.**" if busy > CLIENT_BOTTLENECK else ""
    noise = background_warning(max(load["others_busy_most"] or 0.0 for load in loads))
    done = "; ".join(
        f"{one['generated_tokens']:.0f} tokens generated, {one['preemptions']:.0f} preemptions,"
        f" {one['prefix_cache_hits']:.0f} of {one['prefix_cache_queries']:.0f} prompt tokens from the prefix cache"
        for one in layout["engines"]
    )
    return [
        f"## {layout['layout']}",
        "",
        f"{started} KV cache: {cache} tokens.{memory} {sizes}",
        "",
        *table(LAYOUT_HEAD, [_row(load) for load in loads], left=len(LAYOUT_HEAD)),
        "",
        f"The load client used at most {busy:.0%} of one core.{doubt}{noise} Each vLLM: {done}.",
        "",
    ]


def _row(load: dict[str, Any]) -> list[str]:
    direct, gateway, cpu = load["direct"], load["gateway"], load["gateway_cpu"]
    cost = ["-"] * 3
    if cpu:
        cost = [f"{cpu['us_per_request']:.0f}", f"{cpu['us_per_event']:.1f}", f"{cpu['share_of_a_core']:.1%}"]
    return [
        str(load["concurrency"]),
        f"{direct['tokens_per_s']:.0f}",
        f"{gateway['tokens_per_s']:.0f}",
        Estimate(**load["ratio"]).text(3),
        f"{direct['first_ms_p50']:.1f}",
        f"{gateway['first_ms_p50']:.1f}",
        f"{direct['first_ms_p99']:.1f}",
        f"{gateway['first_ms_p99']:.1f}",
        f"{direct['gap_ms_p50']:.2f}",
        f"{gateway['gap_ms_p50']:.2f}",
        *cost,
    ]


def _comparison(rows: list[dict[str, Any]]) -> list[str]:
    cells = [
        [
            str(row["concurrency"]),
            row["layout"],
            row["against"],
            f"{row['ratio']:.3f}",
            " -> ".join(f"{value:.1f}" for value in row["first_ms_p50"]),
            " -> ".join(f"{value:.2f}" for value in row["gap_ms_p50"]),
        ]
        for row in rows
    ]
    return [
        "## Compared",
        "",
        "The same total load, through the gateway.",
        "",
        *table(COMPARISON_HEAD, cells, left=len(COMPARISON_HEAD)),
        "",
    ]


def _money(report: dict[str, Any]) -> list[str]:
    shares = list(report["layouts"][0]["loads"][0]["usd_per_mtok"])
    head = ["layout", "at a time", *(f"$/M at {float(share):.0%} utilisation" for share in shares)]
    rows = [
        [
            layout["layout"],
            str(load["concurrency"]),
            *(f"{load['usd_per_mtok'][share]:.3f}" for share in shares),
        ]
        for layout in report["layouts"]
        for load in layout["loads"]
    ]
    return [
        "## Money",
        "",
        f"An hour of the GPU: ${report['gpu_hour_usd']:g} ({report['price_source']}). {FORMULA}. Only output tokens are"
        " counted: the same hours also pay for the prompts.",
        "",
        *table(head, rows, left=len(head)),
        "",
    ]
