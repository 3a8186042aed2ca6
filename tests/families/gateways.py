"""A gateway for each family's tiny model, all with one warm parent."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from router.config.models import Model
from router.engine.command import Host, vllm_launch
from tests.families.answers import Answer, read_stream, read_whole
from tests.families.entries import Family
from tests.support.gateway import ROOT, Gateway

CONTEXT = 2048
SCRIPTED_MODEL = "tests.families.scripted_model:ScriptedModel"
ANSWER_S = 600.0
START_S = 900.0
QUESTION = [{"role": "user", "content": "What is the weather in Paris?"}]
STANDINS = Path(__file__).with_name("standins")


@contextmanager
def warm_parent(folder: Path) -> Iterator[str]:
    """Run the process that imports vLLM once. Yield its socket, when it listens."""
    socket = folder / "warm.sock"
    model = Model.model_validate({"name": "any", "tier": "slm", "engine": "vllm", "source": "/any"})
    launch = vllm_launch(model, 0, "/any", socket, Host(os.environ, gpus=(), cores=len(os.sched_getaffinity(0))))
    env = {**launch.env, "PYTHONPATH": f"{STANDINS}:{os.environ.get('PYTHONPATH', '')}"}
    log = folder / "warm.log"
    with log.open("wb") as output:
        command = (sys.executable, "-m", "tests.families.shared_warm_parent", str(socket), *launch.preload)
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_S
        while not socket.exists():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield str(socket)
    finally:
        process.kill()
        process.wait()


def config_of(family: Family, weights: Path) -> Mapping[str, Any]:
    """Return the models.yaml of a gateway that serves the family, with the catalogue's options for it."""
    tested: dict[str, Any] = {
        "logits_processors": [SCRIPTED_MODEL],
        # between the parts of a call, random weights would write spaces until the limit
        "structured_outputs_config": {"disable_any_whitespace": True},
        "max_num_seqs": 8,
    }
    model = {
        "catalogue": family.name,
        "source": str(weights),
        "context": CONTEXT,
        "vllm_args": tested,
        "timeouts": {"first_byte_s": ANSWER_S, "idle_s": ANSWER_S, "total_s": ANSWER_S},
    }
    return {"models": {family.name: model}, "routes": {"auto": {"ladder": [family.name]}}}


class Served:
    """A family's tiny model behind a gateway."""

    def __init__(self, family: Family, gateway: Gateway, weights: Path) -> None:
        self.family = family
        self.gateway = gateway
        self._tokenizer = Tokenizer.from_file(str(weights / "tokenizer.json"))

    def ask(self, **fields: Any) -> Answer:
        """Ask for a whole answer, or with `stream=True` for a stream."""
        body = {"model": self.family.name, "temperature": 0, "messages": QUESTION, **fields}
        reply = self.gateway.http.post("/v1/chat/completions", json=body, timeout=ANSWER_S)
        assert reply.status_code == 200, reply.text
        return read_stream(reply.content) if fields.get("stream") else read_whole(reply.json())

    def script(self, text: str, *, ends: bool = True) -> dict[str, Any]:
        """Return the field of a request that makes the model say a text, and then end or go on by itself."""
        end = self.family.tokens.end_of_turn if ends else ""
        return {"vllm_xargs": {"say": self._tokenizer.encode(text + end, add_special_tokens=False).ids}}


@contextmanager
def served(family: Family, weights: Path, warm_socket: str, folder: Path) -> Iterator[Served]:
    """Serve the family's tiny model."""
    patch = f"from tests.families.shared_warm_parent import use; use({warm_socket!r})"
    with Gateway(config_of(family, weights), folder, patch=patch) as gateway:
        gateway.wait_for_ready(START_S)
        yield Served(family, gateway, weights)
