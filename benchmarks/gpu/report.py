"""The report of a run on a GPU, for people."""

from __future__ import annotations

from typing import Any

from benchmarks.gpu.money import FORMULA
from benchmarks.vllm import machine
from benchmarks.vllm.report import disturbed
from benchmarks.vllm.stats import Estimate

DUMMY = (
    "**The weights are random numbers: throughput only.** Speed depends on their shape, which is that of the real"
    " model; the answers mean nothing, and nothing here says anything about quality."
)
TINY = (
    "**This is a trial of the path, with random weights in two tiny layers: no figure here says anything of a real"
    " model.**"
)
HOW = (
    "Direct is vLLM itself, over the Unix socket (or sockets, the load divided among them) that the gateway uses. Both"
    " sides are the same processes, get the same requests and take turns: direct, gateway, gateway, direct, every"
    " second round the other way round; of fewer than three rounds there is no interval. So many streams run at a time,"
    " a new one as soon as one ends, all of them at once at the start of a leg: the longest times to the first token"
    " are those of that first rush. Answers have exactly so many tokens (`ignore_eos`, temperature 0; checked), and"
    " prompts begin with digits that never came before. p99 of fewer than 100 streams is nearly the longest. The gap is"
    " a stream's time after its first token, over its other tokens."
)


def markdown(report: dict[str, Any], picture: bool) -> str:
    """Return the report; `picture`: report.png lies beside it."""
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
    return "\n".join([*lines, "Every raw leg is in report.json.", ""])


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
        f"Machine: {machine.in_words(report)}.",
        "Parameters: " + ", ".join(f"{name} {value}" for name, value in report["options"].items()) + ".",
    ]


def _count(parameters: int) -> str:
    return f"{parameters / 1e9:.2f}B" if parameters >= 1e8 else f"{parameters / 1e6:.1f}M"


def _layout(layout: dict[str, Any]) -> list[str]:
    replicas = layout["replicas"]
    cache = ", ".join(f"{one['kv_cache_tokens']}" for one in layout["engines"])
    sizes = f"Prompts of {layout['loads'][0]['prompt_tokens']} tokens, answers of {layout['loads'][0]['max_tokens']}."
    started = f"Ready after {layout['started_in_s']:.0f} s, {layout['restarts_until_ready']} restarts."
    memory = f" GPU memory in use: {layout['gpu_memory_used_mib']} MiB." if layout["gpu_memory_used_mib"] else ""
    lines = [
        f"## {replicas} replica{'s' if replicas > 1 else ''}",
        "",
        f"{started} KV cache: {cache} tokens.{memory} {sizes}",
        "",
        "| at a time | tokens/s direct | gateway | gateway / direct (95%) | first token p50 ms direct | gateway"
        " | p99 direct | gateway | gap p50 ms direct | gateway | gateway CPU us/request | us/event | of a core |",
        "|" + "---|" * 13,
    ]
    for load in layout["loads"]:
        direct, gateway, cpu = load["direct"], load["gateway"], load["gateway_cpu"]
        cost = (
            f"{cpu['us_per_request']:.0f} | {cpu['us_per_event']:.1f} | {cpu['share_of_a_core']:.1%}"
            if cpu
            else "- | - | -"
        )
        lines += [
            f"| {load['concurrency']} | {direct['tokens_per_s']:.0f} | {gateway['tokens_per_s']:.0f}"
            f" | {Estimate(**load['ratio']).text(3)} | {direct['first_ms_p50']:.1f} | {gateway['first_ms_p50']:.1f}"
            f" | {direct['first_ms_p99']:.1f} | {gateway['first_ms_p99']:.1f}"
            f" | {direct['gap_ms_p50']:.2f} | {gateway['gap_ms_p50']:.2f} | {cost} |"
        ]
    busy = max(load["client_busy_most"] for load in layout["loads"])
    noise = disturbed(max(load["others_busy_most"] or 0.0 for load in layout["loads"]))
    doubt = " **That is so much that the client itself may be what was measured.**" if busy > 0.8 else ""
    done = "; ".join(
        f"{one['generated_tokens']:.0f} tokens generated, {one['preemptions']:.0f} preemptions,"
        f" {one['prefix_cache_hits']:.0f} of {one['prefix_cache_queries']:.0f} prompt tokens from the prefix cache"
        for one in layout["engines"]
    )
    return [*lines, "", f"The load client took at most {busy:.0%} of one core.{doubt}{noise} Each vLLM: {done}.", ""]


def _comparison(rows: list[dict[str, Any]]) -> list[str]:
    lines = [
        "## Several replicas on one device",
        "",
        "The same total load, through the gateway.",
        "",
        "| at a time | replicas | against | throughput ratio | first token p50 ms | gap p50 ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        first, gap = row["first_ms_p50"], row["gap_ms_p50"]
        lines += [
            f"| {row['concurrency']} | {row['replicas']} | {row['against']} | {row['ratio']:.3f}"
            f" | {first[0]:.1f} -> {first[1]:.1f} | {gap[0]:.2f} -> {gap[1]:.2f} |"
        ]
    return [*lines, ""]


def _money(report: dict[str, Any]) -> list[str]:
    shares = list(report["layouts"][0]["loads"][0]["usd_per_mtok"])
    lines = [
        "## Money",
        "",
        f"An hour of the GPU: ${report['gpu_hour_usd']:g} ({report['price_source']}). {FORMULA}. Output tokens only:"
        " the prompt's are paid by the same hours.",
        "",
        "| replicas | at a time | " + " | ".join(f"$/M at {float(share):.0%} utilisation" for share in shares) + " |",
        "|" + "---|" * (2 + len(shares)),
    ]
    for layout in report["layouts"]:
        for load in layout["loads"]:
            prices = " | ".join(f"{load['usd_per_mtok'][share]:.3f}" for share in shares)
            lines += [f"| {layout['replicas']} | {load['concurrency']} | {prices} |"]
    return [*lines, ""]
