"""Write docs/reference and docs/models.md from the code, so that they cannot disagree with it.

    .venv/bin/python scripts/reference.py

Run it as `make reference`. tests/unit/docs compares the committed pages with the code.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from typing import get_args

from installer import ROOT, print_line
from reference_catalogue import PAGE, catalogue_page
from reference_markdown import code, sentence, table
from reference_models import models_page

from router.policy import POLICIES
from router.record import Outcome
from router.types import ESCALATION_REASONS, ConstraintKind, VerdictWord
from server.cli import build_parser
from server.http.relay import HEADERS, STRUCTURED_VALUES
from server.observability.definitions import COUNTERS, HISTOGRAMS, PREFIX, SCRAPED_METRICS
from server.settings import environment_variables

FOLDER = ROOT / "docs" / "reference"
NOTICE = "<!-- Made from the code by `make reference`: do not edit. -->"
MODELS_YAML = ("models.yaml", "deploy/models.yaml")

OTHER_VARIABLES = {
    "HF_TOKEN": "the token for gated and private models of the Hugging Face hub; only the fetch of a model gets it",
    "HF_HOME, HF_ENDPOINT": "the cache folder and the address of the Hugging Face hub",
    "CUDA_VISIBLE_DEVICES": "the GPUs that the vLLM processes may use (default: all)",
    "HTTP_PROXY, HTTPS_PROXY, NO_PROXY": "the proxy for upstreams that are not on this machine, and for the fetch of a "
    "model",
    "XDG_STATE_HOME, HOME": "where the default state folder is",
    "XDG_RUNTIME_DIR": "where the sockets of the vLLM processes are (default: the system's temporary folder)",
}
"""variables that other modules and libraries read"""

LABEL_VALUES = {
    "`outcome`": ", ".join(map(code, get_args(Outcome))),
    "`reason`": "the [reasons of escalations](reasons.md#escalations)",
    "`kind` of tokens": "`prompt`, `cached_prompt`, `completion`",
    "`kind` of verdicts": ", ".join(sorted(map(code, get_args(ConstraintKind)))),
    "`verdict` of `structured_verdicts_total`": ", ".join(map(code, get_args(VerdictWord))),
    "`verdict` of `judged_answers_total`": "`accepted`, `rejected`; `unsure`: a rejected answer was returned after all",
    "`route`, `model`": "a name of models.yaml, or `none`",
}


def main() -> None:
    """Write every page."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        print_line(f"docs/reference/{name}")
    PAGE.write_text(catalogue_page(), encoding="utf-8")
    print_line("docs/models.md")


def pages() -> dict[str, str]:
    """Return every page by its file name."""
    contents = {
        "models-yaml.md": ("Keys of models.yaml", models_page()),
        "headers.md": ("Response headers", headers_page()),
        "reasons.md": ("Reasons", reasons_page()),
        "metrics.md": ("Metrics", metrics_page()),
        "cli.md": ("Commands", cli_page()),
        "environment.md": ("Environment variables", environment_page()),
    }
    listing = "\n".join(f"- [{title}]({name})" for name, (title, _) in contents.items())
    contents["README.md"] = ("Reference", f"These pages are made from the code.\n\n{listing}")
    return {name: f"{NOTICE}\n\n# {title}\n\n{text}\n" for name, (title, text) in contents.items()}


def headers_page() -> str:
    """Return every `x-smallfirst-*` header and the values of `x-smallfirst-structured`."""
    rows = ((code(header.name), sentence(header.when), header.meaning) for header in HEADERS)
    values = ((code(value), meaning) for value, meaning in STRUCTURED_VALUES.items())
    return "\n\n".join(
        [
            "Streams have the values that are known only at their end in a comment before `[DONE]`.",
            table(("Header", "When", "Meaning"), rows),
            "## Values of `x-smallfirst-structured`",
            table(("Value", "Meaning"), values),
        ]
    )


def reasons_page() -> str:
    """Return every value of `x-smallfirst-reason` and of the label `reason`."""
    decisions = (
        (code(reason), code(name), sentence(meaning))
        for name, policy in sorted(POLICIES.items())
        for reason, meaning in policy.reasons.items()
    )
    escalations = ((code(reason), sentence(meaning)) for reason, meaning in ESCALATION_REASONS.items())
    return "\n\n".join(
        [
            "The header `x-smallfirst-reason` says why this model answered. It is one of these:",
            "- the reason of the last escalation, which led to this model;\n"
            "- without an escalation, the reason of the policy's decision;\n"
            "- `unsure: ` and the reason of an escalation. The answer was rejected, as it is empty or for its "
            "confidence, but returned after all, because no higher rung answered for this reason. `unsure: rejected` "
            "means that they refused the request.",
            "## Escalations",
            "These are also the values of the label `reason` of `smallfirst_escalations_total` and "
            "`smallfirst_retries_total`.",
            table(("Reason", "Why the request left the model for another one"), escalations),
            "## Decisions of policies",
            table(("Reason", "Policy", "Meaning"), decisions),
        ]
    )


def metrics_page() -> str:
    """Return every metric."""
    rows = [(name, "counter", counter.labels, counter.help) for name, counter in COUNTERS.items()]
    rows += [(name, "histogram", histogram.labels, histogram.help) for name, histogram in HISTOGRAMS.items()]
    rows += [
        (name, "counter" if name.endswith("_total") else "gauge", labels, text)
        for name, (labels, text) in SCRAPED_METRICS.items()
    ]
    buckets = ((code(PREFIX + name), ", ".join(map(str, found.bounds))) for name, found in HISTOGRAMS.items())
    return "\n\n".join(
        [
            table(
                ("Metric", "Type", "Labels", "Meaning"),
                ((code(PREFIX + name), kind, ", ".join(map(code, labels)), text) for name, kind, labels, text in rows),
            ),
            "## Values of labels",
            table(("Label", "Values"), LABEL_VALUES.items()),
            "## Bounds of histograms",
            table(("Histogram", "Upper bounds of its buckets"), buckets),
        ]
    )


def cli_page() -> str:
    """Return every command and option."""
    parser = build_parser()
    [subparsers] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parts = [parser.description or ""]
    for choice in subparsers._choices_actions:
        command = subparsers.choices[choice.dest]
        rows = (_option(action) for action in command._actions if action.dest != "help")
        options = table(("Option", "Default", "Environment variable", "Meaning"), rows)
        parts += [f"## smallfirst {choice.dest}", sentence(choice.help or ""), options]
    return "\n\n".join(parts)


def _option(action: argparse.Action) -> tuple[str, str, str, str]:
    """Return an option's row. Its default and its environment variable are in its help."""
    name = " ".join([", ".join(action.option_strings), str(action.metavar or "")]).strip()
    text = " ".join((action.help or "").split())
    default = re.search(r" ?\(default: (.*)\)$", text)
    text = text[: default.start()] if default else text
    variable = re.search(r" ?\[(\w+)\]", text)
    text = text.replace(variable[0], "") if variable else text
    shown = default[1] if default else "required" if action.required else "none"
    return code(name), shown, code(variable[1]) if variable else "", sentence(text)


def environment_page() -> str:
    """Return every environment variable that the server reads."""
    used = {name for file in MODELS_YAML for name in re.findall(r"\$\{env\.(\w+)\}", (ROOT / file).read_text())}
    return "\n\n".join(
        [
            "A command-line option wins over its environment variable.",
            table(("Variable", "Meaning"), _variables(environment_variables())),
            "## Variables that models.yaml names",
            "A value `${env.NAME}` in models.yaml is replaced by the environment variable NAME. The files of this "
            f"repository use {', '.join(map(code, sorted(used)))}.",
            "## Other variables",
            table(("Variable", "Meaning"), _variables(OTHER_VARIABLES)),
        ]
    )


def _variables(meanings: dict[str, str]) -> Iterator[tuple[str, str]]:
    for names, meaning in meanings.items():
        yield ", ".join(map(code, names.split(", "))), sentence(meaning)


if __name__ == "__main__":
    main()
