"""The folder is a program of its own: an interpreter that does not know smallfirst can run it."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from router.engine.transformers_launch import SERVER

FILES = sorted(SERVER.glob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_imports_nothing_of_smallfirst(file: Path) -> None:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        else:
            continue
        assert not {name.partition(".")[0] for name in names} & {"router", "server"}, names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_it_is_python_3_10(file: Path) -> None:
    ast.parse(file.read_text(), feature_version=(3, 10))


def test_the_folder_is_a_package_and_hides_no_module_of_others(tmp_path: Path) -> None:
    """Stand-ins take the place of the heavy modules; a module named like one of the folder's stays importable."""
    stand_ins = {
        "torch.py": "",
        "numpy.py": "",
        "transformers.py": "AutoConfig = AutoModelForCausalLM = AutoTokenizer = LogitsProcessorList = "
        "StoppingCriteriaList = None\nimport answer",
        "answer.py": "print('the other answer')",
        "uvicorn.py": "",
        "llguidance/__init__.py": "LLMatcher = LLTokenizer = grammar_from = None",
        "llguidance/hf.py": "from_tokenizer = None",
        "llguidance/numpy.py": "allocate_token_bitmask = fill_next_token_bitmask = None",
    }
    for name, content in stand_ins.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    command = [sys.executable, "-S", str(SERVER), "--help"]
    done = subprocess.run(
        command, env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "the other answer" in done.stdout
    assert "--uds" in done.stdout
