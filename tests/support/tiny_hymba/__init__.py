"""A model with code of its own, as Hymba has: a type that the library does not know, and batches of one."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.tiny_llama import make_tiny_llama

CODE = ("configuration_hymba.py", "modeling_hymba.py")
ANSWER = "hymba"
"""what the model's own code makes it say"""


def make_tiny_hymba(folder: Path) -> Path:
    """Write the model and its code into a folder; return the folder."""
    classes = {
        "AutoConfig": "configuration_hymba.HymbaConfig",
        "AutoModelForCausalLM": "modeling_hymba.HymbaForCausalLM",
    }
    make_tiny_llama(folder, model_type="hymba", architectures=["HymbaForCausalLM"], auto_map=classes)
    for name in CODE:
        shutil.copy(Path(__file__).with_name(name), folder / name)
    return folder
