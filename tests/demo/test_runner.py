import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lerobot_qwenvla.demo.runner import Stage, program, run_stages


def writes(path: Path, text: str, name: str = "write", **options) -> Stage:
    """A stage that appends a line to its output, and to `runs` beside it."""
    code = f"for path in {[str(path), str(path.with_name('runs'))]!r}: open(path, 'a').write({text!r} + '\\n')"
    return Stage(name, [sys.executable, "-c", code], path, **options)


def test_what_is_done_is_not_done_again(tmp_path):
    stages = [writes(tmp_path / "a", "once", "a"), writes(tmp_path / "b", "once", "b")]
    seconds = run_stages(stages, tmp_path)
    assert run_stages(stages, tmp_path) == seconds
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "once\n"


def test_a_changed_command_runs_again_and_so_does_all_after_it(tmp_path):
    beside = writes(tmp_path / "c", "beside", "c", independent=True)
    after = writes(tmp_path / "b", "after", "b", resumes=True)
    run_stages([writes(tmp_path / "a", "old", "a"), beside, after], tmp_path)
    run_stages([writes(tmp_path / "a", "new", "a"), beside, after], tmp_path)
    assert (tmp_path / "runs").read_text() == "old\nbeside\nafter\nnew\nafter\n"
    assert (tmp_path / "a").read_text() == "new\n"
    assert (tmp_path / "b").read_text() == "after\n"  # what it had made of the old recordings is gone


def test_a_changed_input_file_runs_the_stage_again(tmp_path):
    settings = tmp_path / "settings.yaml"
    stage = writes(tmp_path / "a", "x", inputs=(settings,))
    for content in ("1", "1", "2"):
        settings.write_text(content)
        run_stages([stage], tmp_path)
    assert (tmp_path / "runs").read_text() == "x\nx\n"


def test_a_missing_output_is_made_again(tmp_path):
    stage = writes(tmp_path / "a", "x")
    run_stages([stage], tmp_path)
    (tmp_path / "a").unlink()
    run_stages([stage], tmp_path)
    assert (tmp_path / "a").read_text() == "x\n"


def test_what_somebody_else_put_there_is_never_removed(tmp_path):
    (tmp_path / "a").write_text("precious")
    with pytest.raises(ValueError, match="exists but was not made here; move it away, or choose another --output_dir"):
        run_stages([writes(tmp_path / "a", "x")], tmp_path)
    assert (tmp_path / "a").read_text() == "precious"


def test_two_runs_in_one_folder_do_not_meet(tmp_path):
    begun, goes_on = tmp_path / "begun", tmp_path / "goes on"
    code = f"""
import os, time
open({str(begun)!r}, "w")
while not os.path.exists({str(goes_on)!r}):
    time.sleep(0.01)
"""
    with ThreadPoolExecutor() as pool:
        first = pool.submit(run_stages, [Stage("first", [sys.executable, "-c", code], begun)], tmp_path)
        try:
            while not begun.exists() and not first.done():
                time.sleep(0.01)
            with pytest.raises(ValueError, match="another run is at work here; wait for it, or choose another"):
                run_stages([], tmp_path)
        finally:
            goes_on.touch()
    assert first.result().keys() == {"first"}
    assert run_stages([], tmp_path) == {}


def test_a_failed_stage_says_why_and_starts_over(tmp_path):
    code = f"open({str(tmp_path / 'a')!r}, 'a').write('half'); raise SystemExit('disk on fire')"
    stage = Stage("train", [sys.executable, "-c", code], tmp_path / "a")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"(?s)disk on fire.*failed; the whole log is .*train\.log"):
            run_stages([stage], tmp_path)
    assert (tmp_path / "a").read_text() == "half"
    assert json.loads((tmp_path / "stages.json").read_text())["train"]["seconds"] is None


def test_a_stage_that_resumes_goes_on_where_it_was_interrupted(tmp_path):
    half, whole = tmp_path / "half", tmp_path / "whole"
    for output, resumes in ((half, True), (whole, False)):
        code = f"""
import os, sys
path = {str(output)!r}
first = not os.path.exists({str(output)!r} + ".tried")
open(path, 'a').write('half ')
open(path + ".tried", 'w')
sys.exit('killed' if first else 0)
"""
        stage = Stage(output.name, [sys.executable, "-c", code], output, resumes=resumes)
        with pytest.raises(ValueError, match="killed"):
            run_stages([stage], tmp_path)
        run_stages([stage], tmp_path)
    assert half.read_text() == "half half "
    assert whole.read_text() == "half "


def test_programs_are_those_beside_this_python():
    assert Path(program("qwenvla-record")).parent == Path(sys.executable).parent
    with pytest.raises(ValueError, match=r"qwenvla-nothing is not in .*; install this project again"):
        program("qwenvla-nothing")
