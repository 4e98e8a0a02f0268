"""The folders import one another only as the contracts in pyproject.toml say, and stay small."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("lerobot_qwenvla", "recordings_to_lerobot")
MOST_MODULES_IN_A_FOLDER = 12


def lint(folder: Path) -> subprocess.CompletedProcess:
    """What import-linter says of the packages in this folder; a process of its own finds them before the installed."""
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run([program, "--no-cache", "--no-logo"], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def copied_tree(tmp_path):
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_contracts_are_kept():
    run = lint(ROOT)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("module", "wrong_import", "contract"),
    [
        ("recordings_to_lerobot/__init__.py", "import lerobot_qwenvla.devices", "The converter stands on its own"),
        ("lerobot_qwenvla/devices/__init__.py", "import lerobot_qwenvla.miniworld", "Folders import downwards only"),
        ("lerobot_qwenvla/attic/__init__.py", "", "Folders import downwards only"),
        (
            "recordings_to_lerobot/dataset/names.py",
            "import recordings_to_lerobot.conversion",
            "Recordings become a dataset without turning back",
        ),
        ("recordings_to_lerobot/attic/__init__.py", "", "Recordings become a dataset without turning back"),
        ("lerobot_qwenvla/recorder/__init__.py", "import lerobot_qwenvla.policy", "The game knows no policy"),
        ("lerobot_qwenvla/tools/__init__.py", "import lerobot_qwenvla.devices", "The policy knows no game"),
        ("lerobot_qwenvla/miniworld/tasks/table.py", "import lerobot_qwenvla.miniworld.environment", "No circles"),
        (
            "lerobot_qwenvla/miniworld/environment.py",
            "import lerobot_qwenvla.miniworld.players",
            "In Miniworld, players look",
        ),
    ],
)
def test_a_wrong_import_is_caught(copied_tree, module, wrong_import, contract):
    path = copied_tree / module
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:  # imports for type checking count
        file.write(f"\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {wrong_import or 'pass'}\n")
    run = lint(copied_tree)
    assert run.returncode == 1
    assert any(line.startswith(contract) and line.endswith("BROKEN") for line in run.stdout.splitlines())


FOLDERS = sorted({path.parent.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")})


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_a_folder_can_be_read_at_one_go(folder):
    modules = sorted(path.stem for path in (ROOT / folder).glob("*.py") if path.stem != "__init__")
    assert len(modules) <= MOST_MODULES_IN_A_FOLDER


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_no_module_is_named_like_one_of_python(folder):
    assert not {path.stem for path in (ROOT / folder).iterdir()} & sys.stdlib_module_names
