from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset import audit
from recordings_to_lerobot.dataset.names import EVENTS_FOLDER, FRAMES_FOLDER
from recordings_to_lerobot.verification.dataset import verify
from tests.recordings_to_lerobot.raw_recordings import make_recording


def test_full_audit_file_is_followed_by_another(tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "_MAX_FILE_BYTES", 1)
    raw, root = tmp_path / "raw", tmp_path / "out"
    for index in range(3):
        make_recording(raw / str(index), task=f"task {index}")
    convert(ConvertConfig(input=raw, root=root, repo_id="tests/any", workers=1))
    for folder in (EVENTS_FOLDER, FRAMES_FOLDER):
        # The schema alone has more than one byte, so that every episode begins a file.
        assert len(list((root / folder).glob("*.parquet"))) >= 3
        assert [len(audit.read_audit(root, folder, episode)) > 0 for episode in range(3)] == [True] * 3
    assert not verify(raw, root, workers=1).failed.total()
