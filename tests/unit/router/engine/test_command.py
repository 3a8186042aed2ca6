"""The command line and environment of vLLM."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from router.config.models import Model
from router.engine.command import Host, Launch, check_vllm_args, filter_env, to_flags, vllm_launch
from router.errors import ConfigError

SOCKET = Path("/run/smallfirst-1/vllm.sock")


def model(**fields: Any) -> Model:
    return Model(name="tiny", tier="slm", engine="vllm", source="owner/model", **fields)


def launch(subject: Model, environ: dict[str, str] | None = None, *, gpus: str = "", index: int = 0) -> Launch:
    return vllm_launch(subject, index, "/models/tiny", SOCKET, Host(environ or {}, gpus.split(), 2))


def value(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_the_model_is_served_under_our_name_on_a_private_socket() -> None:
    argv = launch(model(context=2048)).argv
    assert argv[1:3] == ("-m", "vllm.entrypoints.openai.api_server")
    assert value(argv, "--model") == "/models/tiny"
    assert value(argv, "--served-model-name") == "tiny"
    assert value(argv, "--uds") == str(SOCKET)
    assert value(argv, "--max-model-len") == "2048"
    assert "--port" not in argv
    assert "--api-key" not in argv


def test_without_a_context_vllm_chooses_it() -> None:
    assert "--max-model-len" not in launch(model()).argv


def test_the_structured_output_backend_is_pinned() -> None:
    assert value(launch(model()).argv, "--structured-outputs-config") == '{"backend": "guidance"}'
    other = launch(model(structured_backend="xgrammar")).argv
    assert value(other, "--structured-outputs-config") == '{"backend": "xgrammar"}'


def test_tools_are_a_json_schema_to_guidance_and_vllms_own_grammars_to_xgrammar() -> None:
    name = "VLLM_ENFORCE_STRICT_TOOL_CALLING"
    assert launch(model()).env[name] == "0"
    assert launch(model(), {name: "1"}).env[name] == "1"
    assert name not in launch(model(structured_backend="xgrammar")).env


def test_adapters_are_loaded_while_it_runs() -> None:
    subject = model(adapters={"orders": "./orders"}, vllm_args={"enable_lora": True, "max_lora_rank": 16})
    made = launch(subject, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "0"})
    assert "--enable-lora" in made.argv
    assert value(made.argv, "--max-lora-rank") == "16"
    assert made.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" not in launch(model()).env


def test_what_the_user_sets_wins_over_our_defaults() -> None:
    subject = model(vllm_args={"structured_outputs_config": {"reasoning_parser": "qwen3"}, "dtype": "bfloat16"})
    argv = launch(subject).argv
    assert argv.count("--structured-outputs-config") == 1
    assert value(argv, "--structured-outputs-config") == '{"backend": "guidance", "reasoning_parser": "qwen3"}'
    assert value(argv, "--dtype") == "bfloat16"


@pytest.mark.parametrize("value", [{"backend": "auto"}, "guidance", None])
def test_the_backend_is_ours_to_pin(value: object) -> None:
    with pytest.raises(ConfigError, match="structured_backend"):
        launch(model(vllm_args={"structured_outputs_config": value}))


def test_a_cpu_gets_its_settings_and_a_gpu_does_not() -> None:
    on_cpu, on_gpu = launch(model()), launch(model(), gpus="0")
    assert value(on_cpu.argv, "--dtype") == "float32"
    assert "--enforce-eager" in on_cpu.argv
    assert "--no-enable-chunked-prefill" in on_cpu.argv
    assert on_cpu.env["OMP_NUM_THREADS"] == "2"
    assert on_cpu.env["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert "--dtype" not in on_gpu.argv
    assert "--enforce-eager" not in on_gpu.argv
    assert "--no-enable-chunked-prefill" not in on_gpu.argv
    assert not {"OMP_NUM_THREADS", "VLLM_CPU_KVCACHE_SPACE"} & set(on_gpu.env)


def test_the_environment_wins_over_our_settings() -> None:
    env = launch(model(), {"OMP_NUM_THREADS": "8", "VLLM_CPU_KVCACHE_SPACE": "4", "HF_HUB_OFFLINE": "0"}).env
    assert (env["OMP_NUM_THREADS"], env["VLLM_CPU_KVCACHE_SPACE"], env["HF_HUB_OFFLINE"]) == ("8", "4", "0")


def test_a_replica_sees_its_gpus_only() -> None:
    subject = model(gpus=(2, 3), replicas=2)
    environments = [launch(subject, gpus="0 1 2 3", index=index).env for index in (0, 1)]
    assert [env["CUDA_VISIBLE_DEVICES"] for env in environments] == ["2", "3"]
    assert "CUDA_VISIBLE_DEVICES" not in launch(model(), gpus="0").env


def test_replicas_without_gpus_of_their_own_share_out_all_that_there_are() -> None:
    launches = [launch(model(replicas=3), gpus="GPU-a GPU-b", index=index) for index in range(3)]
    assert [one.env["CUDA_VISIBLE_DEVICES"] for one in launches] == ["GPU-a", "GPU-b", "GPU-a"]
    assert [one.gpus for one in launches] == [("GPU-a",), ("GPU-b",), ("GPU-a",)]
    assert launch(model(replicas=2), index=1).gpus == (), "on the CPU"


def test_gpus_are_counted_among_those_that_the_gateway_sees() -> None:
    ours = {"CUDA_VISIBLE_DEVICES": "5,GPU-b,7"}
    subject = model(gpus=(1, 2), vllm_args={"tensor_parallel_size": 2})
    assert launch(subject, ours, gpus="5 GPU-b 7").env["CUDA_VISIBLE_DEVICES"] == "GPU-b,7"
    assert launch(model(), ours, gpus="5 GPU-b 7").env["CUDA_VISIBLE_DEVICES"] == "5,GPU-b,7"


def test_a_gpu_that_has_gone_is_no_reason_to_run_on_the_cpu() -> None:
    with pytest.raises(ConfigError, match="there is no GPU 0: this machine has 0"):
        launch(model(gpus=(0,)))


def test_vllm_reports_to_nobody_and_asks_nobody() -> None:
    env = launch(model()).env
    assert env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == env["HF_HUB_OFFLINE"] == "1"
    assert env["VLLM_RPC_BASE_PATH"] == str(SOCKET.parent)


def test_no_key_of_the_gateway_reaches_the_engine() -> None:
    keys = ("SMALLFIRST_API_KEYS", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY")
    environ = dict.fromkeys(keys, "secret") | {"PATH": "/bin", "LC_ALL": "C"}
    assert filter_env(environ) == filter_env(environ, hub=True) == {"PATH": "/bin", "LC_ALL": "C"}
    assert "secret" not in launch(model(), environ).env.values()


def test_only_the_fetch_gets_the_hubs_token_and_the_proxies() -> None:
    hub = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "https_proxy", "HTTP_PROXY", "ALL_PROXY", "no_proxy", "SSL_CERT_FILE")
    environ = dict.fromkeys(hub, "hub") | {"HF_HOME": "/cache"}
    assert filter_env(environ, hub=True) == environ
    assert filter_env(environ) == {"HF_HOME": "/cache"}
    assert "hub" not in launch(model(), environ).env.values()


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ({"max_num_seqs": 8}, ["--max-num-seqs", "8"]),
        ({"enable_prefix_caching": True}, ["--enable-prefix-caching"]),
        ({"enable_prefix_caching": False}, ["--no-enable-prefix-caching"]),
        ({"gpu_memory_utilization": 0.5}, ["--gpu-memory-utilization", "0.5"]),
        ({"quantization": "fp8"}, ["--quantization", "fp8"]),
        ({"limit_mm_per_prompt": {"image": 2}}, ["--limit-mm-per-prompt", '{"image": 2}']),
        ({"middleware": ["a", "b"]}, ["--middleware", "a", "b"]),
        ({"lora_modules": [{"name": "x", "path": "/x"}]}, ["--lora-modules", '{"name": "x", "path": "/x"}']),
    ],
)
def test_arguments_are_written_as_vllm_reads_them(args: dict[str, Any], expected: list[str]) -> None:
    assert to_flags(args) == expected


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("model", "write `source` instead"),
        ("max_model_len", "write `context` instead"),
        ("served_model_name", "the model's key"),
        ("api_key", "SMALLFIRST_API_KEYS"),
        ("uds", "private socket"),
        ("host", "--host"),
        ("port", "--port"),
        ("hf_token", "HF_TOKEN from the environment"),
        ("max-num-seqs", "snake_case"),
    ],
)
def test_what_is_not_the_users_to_set_is_refused(key: str, instead: str) -> None:
    subject = model(vllm_args={key: "x"})
    with pytest.raises(ConfigError, match=rf"models\.tiny\.vllm_args\.{key}: .*{instead}"):
        check_vllm_args(subject)
    with pytest.raises(ConfigError):
        launch(subject)


def test_an_argument_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vllm_args\.seed: expected a value"):
        check_vllm_args(model(vllm_args={"seed": None}))


@pytest.mark.parametrize(
    "value", [date(2020, 1, 1), b"x", {1}, float("nan"), float("inf"), [[b"x"]], {"deep": {"er": date(2020, 1, 1)}}]
)
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"models\.tiny\.vllm_args\.a: expected a JSON value"):
        check_vllm_args(model(vllm_args={"a": value}))


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    subject = model()
    subject.vllm_args["a"] = endless
    with pytest.raises(ConfigError, match="expected a JSON value"):
        check_vllm_args(subject)
