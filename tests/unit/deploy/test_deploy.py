"""The files of deployment: linted, valid, and in step with each other and with the gateway."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import promql_parser
import pytest
import yaml

from router.load_config import load
from router.record import Outcome

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
MOUNTS: list[str] = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
[GROUP] = yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
RULES: list[dict[str, Any]] = GROUP["rules"]
[MONEY] = yaml.safe_load((DEPLOY / "prometheus/money.yml").read_text())["groups"]
RECORDS: list[dict[str, Any]] = MONEY["rules"]
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/smallfirst.json").read_text())
OPERATING = (ROOT / "docs/operating.md").read_text()

METRICS = {
    name: (set(labels.split(",")) - {""}, kind)
    for name, labels, kind in re.findall(
        r"^\| `(smallfirst_\w+)(?:\{([\w,]+)\})?` \| (counter|gauge|histogram) \|", OPERATING, re.MULTILINE
    )
}
"""The table of docs/operating.md: metric -> its labels and its type."""
FROM_PROMETHEUS = {
    "up": {"job", "instance"},
    "ALERTS": {"alertname", "alertstate", "severity"},
}


def run(tool: Path, *args: str) -> None:
    """Run a command in the repository; show what it says where it fails."""
    done = subprocess.run([tool, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def run_promtool(*args: str) -> None:
    """Ask Prometheus' own tool where it is installed; it is no Python package. deploy/check insists on it."""
    if promtool := shutil.which("promtool"):
        run(Path(promtool), *args)


def image_is_pinned(image: str) -> bool:
    """Return whether it names a version: `name:1.2`, not `name` nor `name:latest`."""
    tag = image.rpartition("/")[2].partition(":")[2].partition("@")[0]
    return bool(re.search(r"\d+\.\d+", tag))


# Dockerfile


def test_the_dockerfile_passes_its_linter():
    run(BIN / "hadolint", "--failure-threshold", "style", "Dockerfile")


def test_every_image_is_pinned_to_a_version():
    built_from = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images = built_from + [service["image"] for service in SERVICES.values()]
    assert len(built_from) == 2
    assert [image for image in images if not image_is_pinned(image)] == []


@pytest.mark.parametrize("image", ["python", "python:latest", "a/b:3", "host:5000/a/b"])
def test_an_image_without_a_version_is_seen(image: str):
    assert not image_is_pinned(image)


def test_the_image_gets_only_files_that_exist_and_are_sent_to_the_builder():
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()
    }
    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_image_holds_no_engine():
    lock = (ROOT / "requirements/gateway.txt").read_text()
    names = set(re.findall(r"^([a-z0-9_-]+)(?:\[\S+\])?==", lock, re.MULTILINE))
    assert "fastapi" in names
    assert names & {"torch", "vllm", "transformers", "triton"} == set()
    assert lock.count("--hash=sha256:") >= len(names)


# docker-compose.yml


def test_the_compose_file_is_valid():
    run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_only_the_gateway_and_the_monitors_are_published_and_on_loopback():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert sorted(published) == ["gateway", "grafana", "prometheus"]
    loopback = ("127.0.0.1:", "${SMALLFIRST_BIND:-127.0.0.1}:")
    assert [port for ports in published.values() for port in ports if not port.startswith(loopback)] == []
    assert [name for name, service in SERVICES.items() if service.get("network_mode")] == []


def test_what_must_not_have_a_default_has_none():
    gateway, grafana = SERVICES["gateway"]["environment"], SERVICES["grafana"]["environment"]
    assert gateway["SMALLFIRST_API_KEYS"].startswith("${SMALLFIRST_API_KEYS:?")
    assert grafana["GF_SECURITY_ADMIN_PASSWORD"].startswith("${GRAFANA_ADMIN_PASSWORD:?")


def test_the_gateway_waits_for_no_engine():
    assert "depends_on" not in SERVICES["gateway"]


def test_every_mounted_file_is_there_and_read_only():
    mounts = [mount for mount in MOUNTS if mount.startswith("./")]
    assert len(mounts) == 4
    for mount in mounts:
        source, _, mode = mount.split(":")
        assert (ROOT / source).exists(), source
        assert mode == "ro"


def test_named_volumes_and_no_others_are_declared():
    used = {mount.partition(":")[0] for mount in MOUNTS if not mount.startswith("./")}
    assert used == set(COMPOSE["volumes"])


# deploy/models.yaml


def test_models_yaml_names_what_compose_runs():
    conf = load(DEPLOY / "models.yaml", {"OPENAI_API_KEY": "sk-test"}, gpu=False)
    assert conf.left_out == {}
    engines = [model for model in conf.models.values() if model.engine == "vllm"]
    assert engines
    for model in engines:
        for url in model.base_url:
            service = SERVICES[urlsplit(url).hostname or ""]
            assert f"--served-model-name={model.upstream_name}" in service["command"]
            assert f"--max-model-len={model.context}" in service["command"]
    for route in conf.routes.values():
        assert [model.tier for model in route.ladder] == ["slm", "llm"]
        assert route.fallback.price


def test_without_a_key_for_the_fallback_the_small_model_serves_alone():
    conf = load(DEPLOY / "models.yaml", {}, gpu=False)
    assert list(conf.left_out) == ["gpt-4.1-mini"]
    assert [model.tier for model in conf.routes["auto"].ladder] == ["slm"]


# Prometheus


def test_prometheus_reads_services_and_rules_that_exist():
    conf = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    lists = [static["targets"] for job in conf["scrape_configs"] for static in job["static_configs"]]
    hosts = {target.partition(":")[0] for targets in lists for target in targets}
    assert hosts == {name for name in SERVICES if name == "gateway" or name.startswith("vllm-")}
    assert [name for name in conf["rule_files"] if not (DEPLOY / "prometheus" / name).exists()] == []
    jobs = {job["job_name"] for job in conf["scrape_configs"]}
    asked = {job for rule in RULES for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert asked <= jobs
    run_promtool("check", "config", "deploy/prometheus/prometheus.yml")


def test_every_alert_is_explained_tested_and_graded():
    tests = yaml.safe_load((DEPLOY / "prometheus/alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case.get("exp_alerts")}
    quiet = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    alerts = {rule["alert"] for rule in RULES}
    assert alerts == fired == quiet
    assert alerts == set(re.findall(r"^\| (Smallfirst\w+) \|", OPERATING, re.MULTILINE))
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
    run_promtool("test", "rules", "deploy/prometheus/alerts_test.yml")


def test_every_recorded_series_is_explained_and_tested():
    tests = yaml.safe_load((DEPLOY / "prometheus/money_test.yml").read_text())["tests"]
    asked = " ".join(case["expr"] for test in tests for case in test["promql_expr_test"])
    money = (ROOT / "docs/money.md").read_text()
    for rule in RECORDS:
        assert rule["record"] in asked
        assert f"`{rule['record']}`" in money
    run_promtool("test", "rules", "deploy/prometheus/money_test.yml")


# The metrics: exported, described, asked for


def test_the_table_of_metrics_is_what_the_gateway_exports():
    from server.observability.definitions import METRIC_NAMES

    assert set(METRICS) == set(METRIC_NAMES)


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Parse PromQL; return what it reads."""
    found = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def labels_of(metric: str) -> set[str] | None:
    """Return the labels of a series by that name; None: there is no such series."""
    family = metric.removesuffix("_bucket")
    if family in METRICS:
        labels, kind = METRICS[family]
        if kind == "histogram":
            return labels | {"le"} if metric != family else None
        return labels if metric == family else None
    return FROM_PROMETHEUS.get(metric)


def labels_in(clause: str, expression: str) -> set[str]:
    """Return the labels between the brackets after each `clause`."""
    groups = re.findall(clause + r"\s*\(([^)]*)\)", expression)
    return {label.strip() for group in groups for label in group.split(",")}


def panel_queries() -> list[tuple[str, str, str]]:
    """Return (panel, PromQL, legend), with Grafana's variables filled in."""
    return [
        (panel["title"], fill(target["expr"]), target["legendFormat"])
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ]


def fill(expression: str) -> str:
    return expression.replace("$__rate_interval", "1m").replace("$__range", "6h").replace("$route", ".*")


QUERIES = (
    [(rule["alert"], rule["expr"]) for rule in RULES]
    + [(rule["record"], rule["expr"]) for rule in RECORDS]
    + [(title, expression) for title, expression, _ in panel_queries()]
    + [(note["name"], note["expr"]) for note in DASHBOARD["annotations"]["list"] if "expr" in note]
)


@pytest.mark.parametrize("expression", [query for _, query in QUERIES], ids=[name for name, _ in QUERIES])
def test_a_query_reads_only_series_and_labels_that_exist(expression: str):
    read = selectors(expression)
    assert read
    known = set()
    for selector in read:
        labels = labels_of(selector.name)
        assert labels is not None, f"no such series: {selector.name}"
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels
        known |= labels
        for matcher in selector.matchers.matchers:
            if matcher.name == "outcome":
                assert set(matcher.value.split("|")) <= set(get_args(Outcome))
    assert labels_in(r"\b(?:by|on|without)", expression) <= known


@pytest.mark.parametrize("name", ["request_total", "request_duration_seconds", "replicas_bucket"])
def test_a_series_that_does_not_exist_is_seen(name: str):
    assert [labels_of(selector.name) for selector in selectors(f"sum(rate(smallfirst_{name}[5m]))")] == [None]


def test_every_metric_is_on_the_dashboard_or_about_the_build():
    read = [selector.name for _, expression, _ in panel_queries() for selector in selectors(expression)]
    shown = {name.removesuffix("_bucket") for name in read}
    assert set(METRICS) - shown == {"smallfirst_build_info"}


# Grafana


def test_legends_name_labels_that_the_query_keeps():
    for title, expression, legend in panel_queries():
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels_in(r"\bby", expression), title


def test_panels_are_told_apart_and_do_not_overlap():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24


def test_panels_take_the_data_source_that_is_chosen():
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert all(panel["datasource"] == chosen for panel in DASHBOARD["panels"])
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    assert variables["route"]["query"]["query"] == "label_values(smallfirst_requests_total, route)"
    written = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    used = {name for expression in written for name in re.findall(r"\$([a-z_]+)", expression)}
    assert used == {"route", "__range", "__rate_interval"}


def test_grafana_is_provisioned_with_files_that_compose_mounts():
    provisioning = DEPLOY / "grafana/provisioning"
    [source] = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((provisioning / "dashboards/smallfirst.yml").read_text())["providers"]
    assert urlsplit(source["url"]).hostname in SERVICES
    targets = {mount.split(":")[1]: mount.split(":")[0] for mount in SERVICES["grafana"]["volumes"]}
    folder = provider["options"]["path"]
    assert targets[folder] == "./deploy/grafana/dashboards"
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/smallfirst.json"
