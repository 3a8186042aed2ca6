"""The command line of the server."""

from __future__ import annotations

import argparse
import logging

import transformers
import uvicorn

from .app import App
from .model import LoadOptions, Model

SHUTDOWN_S = 1
"""for answers in progress: the gateway has ended its requests before it stops the engine"""


def main() -> None:
    """Load the model, then serve it until SIGTERM. `/health` answers once it is loaded."""
    parser = argparse.ArgumentParser(prog="transformers_server")
    parser.add_argument("folder", help="the folder of the model's weights")
    parser.add_argument("--uds", required=True, help="the path of the Unix socket")
    parser.add_argument("--name", required=True, help="the name of the model in answers")
    parser.add_argument("--context", type=int)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--gpu-memory-utilization", type=float, default=1.0)
    parser.add_argument("--max-wait-s", type=float, default=30.0)
    parser.add_argument("--trust-remote-code", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(asctime)s %(name)s: %(message)s")
    transformers.logging.set_verbosity_error()  # it warns of settings that a greedy answer ignores
    transformers.logging.disable_progress_bar()
    logging.info("loading the model in %s", options.folder)
    model = Model.load(
        LoadOptions(
            options.folder,
            context=options.context,
            dtype=options.dtype,
            trust_remote_code=options.trust_remote_code,
            gpu_memory_utilization=options.gpu_memory_utilization,
        )
    )
    logging.info("the model is loaded, with a context of %d tokens", model.context)
    uvicorn.run(
        App(model, options.name, options.max_wait_s),
        uds=options.uds,
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
