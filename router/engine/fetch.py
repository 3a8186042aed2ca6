"""`python -m router.engine.fetch MODEL`: downloads a model of the Hugging Face hub into the local hub cache.

It prints a progress line every few seconds and, last, the path of the folder. If the model is cached, it makes no
request. HF_TOKEN, HF_HOME and HF_ENDPOINT have their usual meaning.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

PROGRESS_INTERVAL_S = 5.0
# other formats of the same weights, which vLLM does not need
IGNORED_FILES = ["original/*", "onnx/*", "*.gguf", "*.onnx", "*.pth", "*.pt", "*.h5", "*.msgpack", "*.ot"]


def main(model: str) -> None:
    """Download the missing files of the model and print its folder.

    Raises:
        SystemExit: the model cannot be downloaded. The message says why and what to do.
    """
    try:
        folder = snapshot_download(model, local_files_only=True, ignore_patterns=IGNORED_FILES)
    except LocalEntryNotFoundError:
        try:
            folder = _download(model)
        except (HfHubHTTPError, OSError) as error:
            raise SystemExit(_describe_error(model, error.__cause__ or error)) from None
    sys.stdout.write(f"{folder}\n")


def _describe_error(model: str, error: BaseException) -> str:
    if isinstance(error, GatedRepoError):
        return f"{model} is gated: accept its terms on its hub page, then set HF_TOKEN to a token with access to it"
    if isinstance(error, RepositoryNotFoundError):
        return f"the hub has no model {model}, or it is private and HF_TOKEN has no access to it"
    reason = str(error).strip().splitlines()[0]
    return f"{model} is not on this machine, and downloading it failed: {reason}"


def _download(model: str) -> str:
    files = snapshot_download(model, ignore_patterns=IGNORED_FILES, dry_run=True)
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    cache = Path(constants.HF_HUB_CACHE, f"models--{model.replace('/', '--')}", "blobs")
    before = _folder_bytes(cache)
    done = threading.Event()

    def report() -> None:
        while not done.wait(PROGRESS_INTERVAL_S):
            fetched = min(_folder_bytes(cache) - before, missing)
            sys.stdout.write(f"{fetched / 1e9:.1f} of {missing / 1e9:.1f} GB\n")
            sys.stdout.flush()

    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        return snapshot_download(model, ignore_patterns=IGNORED_FILES)
    finally:
        done.set()
        reporter.join()


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*")) if folder.exists() else 0


if __name__ == "__main__":
    main(sys.argv[1])
