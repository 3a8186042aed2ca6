from __future__ import annotations

from pathlib import Path

import pytest

from router.config.models import Model
from router.config.swap import SwapGroup
from router.engine.launchers import GIB
from router.engine.memory import check_memory, total_memory, weights_bytes
from router.errors import ConfigError


def model(name: str, source: str = "owner/model", **entry: object) -> Model:
    return Model.model_validate({"name": name, "tier": "slm", "engine": "vllm", "source": source, **entry})


def test_kv_caches_of_all_that_can_be_loaded_together_must_fit() -> None:
    models = [model("a"), model("b", replicas=2), model("c")]
    check_memory(models, (), {}, 4 * GIB)
    with pytest.raises(ConfigError, match=r"at least 4\.0 GiB .* 3\.9: 1\.0 \(a\) \+ 2\.0 \(b\) \+ 1\.0 \(c\)"):
        check_memory(models, (), {}, int(3.9 * GIB))
    check_memory(models, [SwapGroup(models=("a", "c"), keep=1)], {}, 3 * GIB)
    with pytest.raises(ConfigError, match=r"VLLM_CPU_KVCACHE_SPACE \(GiB\)"):
        check_memory(models, (), {"VLLM_CPU_KVCACHE_SPACE": "10"}, 39 * GIB)
    check_memory(models, (), {"VLLM_CPU_KVCACHE_SPACE": "much"}, GIB)


def test_an_engine_without_a_cache_of_its_own_needs_its_weights_only() -> None:
    check_memory([model("a", engine="transformers")], (), {}, 1)


def test_weights_that_are_here_count(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model-1.safetensors").write_bytes(b"w" * 1000)
    (folder / "model-2.safetensors").write_bytes(b"w" * 500)
    (folder / "tokenizer.json").write_bytes(b"t" * 100)
    (folder / "original.bin").mkdir()
    file = tmp_path / "model.gguf"
    file.write_bytes(b"g" * 70)
    assert weights_bytes(model("a", str(folder))) == 1500
    assert weights_bytes(model("a", str(file))) == 70
    assert weights_bytes(model("a")) == 0, "it is still on the hub"
    check_memory([model("a", str(folder))], (), {}, GIB + 1500)
    with pytest.raises(ConfigError, match="at least"):
        check_memory([model("a", str(folder))], (), {}, GIB + 1499)


def test_this_machine_has_memory() -> None:
    assert total_memory() > GIB / 2
