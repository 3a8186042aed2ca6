"""`python -m router.engine.fetch MODEL`: a model of the Hugging Face hub, in the hub's own cache on this machine.

Prints how far it is, a line every few seconds, and last the folder's path. What is cached already is neither
fetched nor asked for. HF_TOKEN, HF_HOME and HF_ENDPOINT mean what they mean to every program that uses the hub.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

EVERY_S = 5.0
# the same weights in formats that vLLM does not need
UNUSED = ["original/*", "onnx/*", "*.gguf", "*.onnx", "*.pth", "*.pt", "*.h5", "*.msgpack", "*.ot"]


def main(model: str) -> None:
    """Fetch what is missing of the model and print its folder.

    Raises:
        SystemExit: it cannot be had; the message says why and what to do.
    """
    try:
        folder = snapshot_download(model, local_files_only=True, ignore_patterns=UNUSED)
    except LocalEntryNotFoundError:
        try:
            folder = _download(model)
        except (HfHubHTTPError, OSError) as error:
            raise SystemExit(_explain(model, error.__cause__ or error)) from None
    sys.stdout.write(f"{folder}\n")


def _explain(model: str, error: BaseException) -> str:
    if isinstance(error, GatedRepoError):
        return f"{model} is gated: accept its terms on its hub page, then set HF_TOKEN to a token that may read it"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub knows no model {model}, or it is private and HF_TOKEN may not read it"
    reason = str(error).strip().splitlines()[0]
    return f"{model} is not on this machine, and the hub did not give it: {reason}"


def _download(model: str) -> str:
    files = snapshot_download(model, ignore_patterns=UNUSED, dry_run=True)
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    cache = Path(constants.HF_HUB_CACHE, f"models--{model.replace('/', '--')}", "blobs")
    before = _size(cache)
    done = threading.Event()

    def report() -> None:
        while not done.wait(EVERY_S):
            fetched = min(_size(cache) - before, missing)
            sys.stdout.write(f"{fetched / 1e9:.1f} of {missing / 1e9:.1f} GB\n")
            sys.stdout.flush()

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        return snapshot_download(model, ignore_patterns=UNUSED)
    finally:
        done.set()
        reporter.join()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*")) if folder.exists() else 0


if __name__ == "__main__":
    main(sys.argv[1])
