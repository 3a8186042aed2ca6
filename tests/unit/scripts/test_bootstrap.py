"""The installer behind `make`: what it does once, what anew, and which builds it chooses. Nothing is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

sys.path.insert(0, str(Path(__file__).parents[3] / "scripts"))

import bootstrap
import installer

CHOICES = ("engine-cpu", "engine-cuda", "torch-cpu", "torch-cuda")
LOCKS = ("bootstrap", "gateway", "dev", "llamacpp", *CHOICES)


class Checkout:
    """A checkout in a temporary folder: steps are noted by title instead of run, and `cut_off` ends one midway."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.stamps = self.venv / "installed"
        self.steps: list[str] = []
        self.said: list[str] = []
        self.gpu = False
        self.cut_off = ""
        for name in LOCKS:
            self.write_lock(name, "1.0")
        (root / "pyproject.toml").touch()

    def write_lock(self, name: str, version: str) -> None:
        folder = self.root / "requirements"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_text(f"# Download: 5 MB\n{name}=={version}\n")

    def step(self, title: str, command: Sequence[str]) -> None:
        if self.cut_off and self.cut_off in title:
            raise KeyboardInterrupt
        if "venv" in command:
            for file in self.stamps.glob("*"):
                file.unlink()
            self.stamps.mkdir(parents=True, exist_ok=True)
            (self.venv / "bin").mkdir(exist_ok=True)
            (self.venv / "bin/python").touch()
        self.steps.append(title.removeprefix("installing ").partition(" (")[0])

    def run(self) -> list[str]:
        """Return the steps that one run of `bootstrap.py` takes."""
        self.steps.clear()
        bootstrap.main()
        return list(self.steps)

    def run_cut_off(self, title: str) -> None:
        self.cut_off = title
        with pytest.raises(KeyboardInterrupt):
            bootstrap.main()
        self.cut_off = ""

    def installed(self) -> set[str]:
        return {name for name in CHOICES if (self.stamps / name).exists()}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    places = {"ROOT": tmp_path, "VENV": made.venv, "STAMPS": made.stamps, "REQUIREMENTS": tmp_path / "requirements"}
    doubles = {"run_step": made.step, "print_line": made.said.append, "uv": lambda *arguments: ["true"]}
    for name, value in (places | doubles).items():
        monkeypatch.setattr(bootstrap, name, value)
    monkeypatch.setattr(bootstrap, "lock_checkout", lambda: None)
    monkeypatch.setattr(bootstrap, "has_gpu", lambda: made.gpu)
    monkeypatch.setattr(sys, "argv", ["bootstrap.py"])
    return made


BEGIN = ["new environment .venv", "uv", "gateway"]
ALL = [*BEGIN, "engine-cpu", "torch-cpu", "smallfirst"]


def test_everything_once(checkout: Checkout) -> None:
    assert checkout.run() == ALL
    assert checkout.run() == []


def test_only_the_lock_that_changed(checkout: Checkout) -> None:
    checkout.run()
    checkout.write_lock("gateway", "1.1")
    assert checkout.run() == ["gateway"]


def test_dev_comes_on_top(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.run()
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--dev"])
    assert checkout.run() == ["dev"]
    monkeypatch.setattr(sys, "argv", ["bootstrap.py", "--dev", "--engines"])
    assert checkout.run() == ["llamacpp"]


@pytest.mark.parametrize("title", ["new environment", "installing uv", "installing gateway", "installing torch-cpu"])
def test_a_step_cut_off_makes_the_environment_anew(checkout: Checkout, title: str) -> None:
    checkout.run_cut_off(title)
    assert checkout.run() == ALL
    assert checkout.run() == []


def test_an_update_cut_off_makes_the_environment_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.write_lock("engine-cpu", "1.1")
    checkout.run_cut_off("installing engine-cpu")
    checkout.write_lock("engine-cpu", "1.0")  # the stamp of before says that this one is installed
    assert checkout.run() == ALL


def test_making_anew_cut_off_is_made_anew(checkout: Checkout) -> None:
    checkout.run()
    checkout.gpu = True
    checkout.run_cut_off("new environment")
    checkout.gpu = False
    assert checkout.run() == ALL


@pytest.mark.parametrize("change", ["another Python", "Python gone", "moved"])
def test_an_environment_of_another_python_or_place(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    checkout.run()
    if change == "Python gone":
        (checkout.venv / "bin/python").unlink()
    else:
        monkeypatch.setattr(bootstrap, "ENVIRONMENT_STAMP", change)
    assert checkout.run() == ALL


def test_a_gpu_that_comes_and_goes(checkout: Checkout) -> None:
    checkout.run()
    checkout.gpu = True
    assert checkout.run() == [*BEGIN, "engine-cuda", "torch-cuda", "smallfirst"]
    assert checkout.installed() == {"engine-cuda", "torch-cuda"}
    assert checkout.said == ["==> .venv has engine-cpu, but this machine now needs engine-cuda: making .venv again"]
    assert checkout.run() == []
    checkout.gpu = False
    assert checkout.run() == ALL
    assert checkout.installed() == {"engine-cpu", "torch-cpu"}


def test_without_a_cpu_build_of_torch(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "uv", lambda *arguments: ["false"])
    checkout.run()
    assert checkout.installed() == {"engine-cpu", "torch-cuda"}
    assert "5 MB to download instead of 5 MB" in checkout.said[0]
    monkeypatch.setattr(bootstrap, "uv", lambda *arguments: ["true"])
    assert checkout.run() == []  # what is installed stays, although the CPU build can be had by now


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            True,
            ["--default-index", "https://a/", "--index", "https://b/", "--index", "https://c/", "--find-links", "d"],
        ),
        (False, ["--default-index", "https://a/"]),
    ],
)
def test_uv_asks_the_indexes_of_pip(more: bool, expected: list[str]) -> None:
    settings = {
        "index-url": "https://a/",
        "extra-index-url": "https://b/ https://c/",
        "find-links": "d",
        "timeout": "9",
    }
    assert installer.index_arguments(settings, extra_indexes=more) == [
        "--index-strategy",
        "unsafe-best-match",
        *expected,
    ]


def test_without_settings_uv_asks_its_own_index() -> None:
    assert installer.index_arguments({}, extra_indexes=True) == ["--index-strategy", "unsafe-best-match"]


def test_the_order_of_pip_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = (
        ":env:.index-url='https://environment/'\n"
        "global.index-url='https://global/'\n"
        "global.find-links='/global'\n"
        "install.find-links='/install=1'\n"
        "download.cert='/other'\n"
    )
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: SimpleNamespace(stdout=listing))
    assert installer.pip_settings() == {"index-url": "https://environment/", "find-links": "/install=1"}


def test_a_failed_step_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="trying: failed with status 3"):
        installer.run_step("trying", [sys.executable, "-c", "raise SystemExit(3)"])


def test_two_installations_wait_for_each_other(tmp_path: Path) -> None:
    """Even when the first was killed and the step that it began goes on."""
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name in ("bootstrap.py", "installer.py"):
        (scripts / name).write_bytes((Path(bootstrap.__file__).parent / name).read_bytes())
    lock = "import sys, bootstrap; bootstrap.lock_checkout(); "
    run_step = lock + "bootstrap.run_step('first', [sys.executable, '-c', 'print(input(), flush=True); input()'])"
    first = subprocess.Popen(
        [sys.executable, "-c", run_step], cwd=scripts, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdin is not None
    assert first.stdout is not None
    with first, first.stdin:
        first.stdin.write("begun\n")
        first.stdin.flush()
        assert [first.stdout.readline(), first.stdout.readline()] == ["==> first\n", "begun\n"]
        first.kill()
        first.wait()
        with subprocess.Popen(
            [sys.executable, "-c", lock + "print('held')"], cwd=scripts, stdout=subprocess.PIPE, text=True
        ) as second:
            assert second.stdout is not None
            assert second.stdout.readline() == "==> waiting for another installation into .venv to end\n"
            first.stdin.close()  # the step ends
            assert second.stdout.read() == "held\n"
