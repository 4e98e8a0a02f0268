import json
import sys
from pathlib import Path

import pytest

from lerobot_qwenvla.ablations import ablate as command
from lerobot_qwenvla.ablations.ablate import ablate
from lerobot_qwenvla.ablations.variants import stages
from lerobot_qwenvla.demo.runner import Stage

EVALUATION = {"per_task": [{"metrics": {"successes": [True, False]}}]}


@pytest.fixture
def quick(monkeypatch, tmp_path) -> Path:
    """Quick commands, with the names and outputs of the real ones, in their place; returns a file that lists them.

    The real ones are those of the demo, whose own test runs them.
    """
    listed = tmp_path / "ran"

    def quick(stage: Stage) -> Stage:
        code = (
            f"import pathlib, sys; sys.exit('full disk') if {stage.name!r}.startswith('train-bad') else 0\n"
            f"open({str(listed)!r}, 'a').write({stage.name!r} + '\\n')\n"
            f"folder = pathlib.Path({str(stage.output)!r}); folder.mkdir(parents=True)\n"
            f"(folder / 'eval_info.json').write_text({json.dumps(EVALUATION)!r})\n"
        )
        return Stage(stage.name, [sys.executable, "-c", code], stage.output)

    monkeypatch.setattr(command, "recorded", lambda config: [])
    monkeypatch.setattr(command, "stages", lambda *row: [quick(stage) for stage in stages(*row)[-2:]])
    return listed


def test_every_row_is_trained_with_every_seed_one_seed_after_the_other(make_config, quick, tmp_path):
    rows = ablate(make_config({"default": {}, "executes 4": {"play": {"n_action_steps": 4}}}, seeds=2))
    assert quick.read_text().split() == [
        "train-default-1000", "evaluate-default-recorded-1000", "evaluate-executes-4-recorded-1000",
        "train-default-1001", "evaluate-default-recorded-1001", "evaluate-executes-4-recorded-1001",
    ]  # fmt: skip
    assert [[run.seed for run in row.runs] for row in rows] == [[1000, 1001]] * 2
    assert "| default | 50% (15–85) | 50% / 50% |" in (tmp_path / "table" / "results.md").read_text()


def test_a_variant_that_fails_says_so_and_the_others_go_on(make_config, quick, tmp_path):
    bad, good = ablate(make_config({"bad": {"train": {"steps": 1}}, "good": {}}, seeds=2))
    assert "seed 1000: full disk python" in bad.failed and "the whole log is" in bad.failed
    assert (len(bad.runs), len(good.runs)) == (0, 2)
    assert "| bad | failed |" in (tmp_path / "table" / "results.md").read_text()


def test_a_table_goes_on_where_it_was_interrupted(make_config, quick, monkeypatch, tmp_path):
    config = make_config({"default": {}, "shown": {"train": {"policy": {"state_dropout": 0.0}}}})
    run_stages = command.run_stages

    def interrupted(stages: list[Stage], folder: Path) -> dict[str, float]:
        if any("shown" in stage.name for stage in stages):
            raise KeyboardInterrupt
        return run_stages(stages, folder)

    monkeypatch.setattr(command, "run_stages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ablate(config)
    assert "| shown | – |" in (tmp_path / "table" / "results.md").read_text()
    monkeypatch.setattr(command, "run_stages", run_stages)
    ablate(config)
    assert quick.read_text().split() == [
        "train-default-1000", "evaluate-default-recorded-1000", "train-shown-1000", "evaluate-shown-recorded-1000"
    ]  # fmt: skip


def test_a_row_of_its_own_is_made_alone(make_config, quick):
    [row] = ablate(make_config({"default": {}, "shown": {"train": {"policy": {"state_dropout": 0.0}}}}, only=["shown"]))
    assert row.name == "shown"
    assert quick.read_text().split() == ["train-shown-1000", "evaluate-shown-recorded-1000"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ["nope"]}, "--only: no variant nope; there are default"),
        ({"seeds": 0}, "--seeds must be at least 1, got 0"),
        ({"variations": []}, "--variations: pass at least one"),
        ({"variations": ["upside_down"]}, "Unknown variation 'upside_down' of OneRoom"),
        ({"eval_first_seed": 1}, "--eval_first_seed=1 is among the 2 recorded seeds"),
        ({"task": "TwoRooms"}, "Unknown Miniworld task 'TwoRooms'"),
    ],
)
def test_wrong_options_are_told_before_anything_is_made(make_config, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        ablate(make_config({"default": {}}, **options))
    assert not (tmp_path / "table").exists()


def test_command_takes_the_tables_of_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(
        sys, "argv",
        ["qwenvla-ablate", "--config_path=configs/ablations/cpu.yaml", f"--output_dir={tmp_path}", "--only=[nope]"],
    )  # fmt: skip
    with pytest.raises(SystemExit, match="--only: no variant nope; there are default, "):
        command.main()
