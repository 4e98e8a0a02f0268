"""The dataset card, and what `recordings-to-lerobot push` would upload; no Hub is asked."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, set_client_factory
from huggingface_hub.utils._http import default_client_factory
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

from recordings_to_lerobot.cli import main
from recordings_to_lerobot.conversion.options import ConvertConfig
from recordings_to_lerobot.conversion.run import convert
from recordings_to_lerobot.dataset.card import describe
from recordings_to_lerobot.dataset.names import DIGESTS_FILE
from recordings_to_lerobot.dataset.records import read_records
from tests.recordings_to_lerobot.raw_recordings import make_recording, regular_ticks

PLACEHOLDER = "[More Information Needed]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two datasets: one plain, one with a vocabulary, splits, and a recording that is left out."""
    folder = tmp_path_factory.mktemp("owner")
    for index, task in enumerate(["go to the\nred box", "go to the red box", "open: the door | now"]):
        ticks = regular_ticks(5)
        events = [{"ts": ticks[1], "kind": "keydown", "vk": 88}, {"ts": ticks[2], "kind": "mouseclick", "x": 1, "y": 2}]
        make_recording(folder / f"raw/{index}", ticks, events, task=task)
    convert(ConvertConfig(input=folder / "raw", repo_id="someone/plain", root=folder / "plain"))
    make_recording(folder / "raw/broken").folder.joinpath("events.jsonl").write_text("{")
    (folder / "keys.yaml").write_text("jump: [32, 88]\n")
    special = {"mouse": "delta", "keys": folder / "keys.yaml", "resample": True, "idle": "thin"}
    special |= {"splits": {"train": 0.6, "test": 0.4}}
    convert(ConvertConfig(input=folder / "raw", repo_id="someone/special", root=folder / "special", **special))
    return folder


def files(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def contents(root: Path) -> dict[str, tuple[bytes, int]]:
    return {name: ((root / name).read_bytes(), (root / name).stat().st_mtime_ns) for name in files(root)}


EXPECTED_FILES = [
    "README.md",
    "audit/events/file-000.parquet",
    "audit/frames/file-000.parquet",
    "audit/quarantine.jsonl",
    "data/chunk-000/file-000.parquet",
    "meta/episodes/chunk-000/file-000.parquet",
    "meta/info.json",
    "meta/recordings.jsonl",
    "meta/stats.json",
    "meta/tasks.parquet",
    "videos/observation.images.screen/chunk-000/file-000.mp4",
]


def test_card_is_valid_and_names_every_channel_with_its_index(folder):
    card = DatasetCard.load(folder / "plain/README.md")
    assert card.data.tags == ["LeRobot", "mouse-and-keyboard", "screen-recording"]
    assert card.data.configs == [{"config_name": "default", "data_files": "data/*/*.parquet"}]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in card.text.splitlines() if line[:2] == "| "]
    names = json.loads((folder / "plain/meta/info.json").read_text())["features"]["action"]["names"]
    assert [row[:2] for row in rows[1:]] == [[str(index), f"`{name}`"] for index, name in enumerate(names)]
    assert all(row[2] for row in rows)
    meaning = {row[1]: row[2] for row in rows}
    assert meaning["`key.shift`"] == "likewise for the key with virtual-key code 0x10 or 0xA0 or 0xA1"
    assert "- go to the red box (2 episodes)\n- open: the door | now (1 episode)\n" in card.text
    assert "3 episodes,\n15 rows at 10 per second, pictures of 64×64" in card.text
    assert 'LeRobotDataset("someone/plain")' in card.text and "recordings-to-lerobot explain" in card.text


def test_card_leaves_only_the_licence_to_the_owner(folder):
    lines = (folder / "plain/README.md").read_text().splitlines()
    assert [line for line in lines if PLACEHOLDER in line] == [f"- **License:** {PLACEHOLDER}"]


def test_card_tells_of_vocabulary_movement_grid_idle_stretches_and_splits(folder):
    text = DatasetCard.load(folder / "special/README.md").text
    assert "| 5 | `key.jump` | likewise for the key with virtual-key code 0x20 or 0x58 |" in text
    assert "| 0 | `mouse.dx` | mouse movement to the right during the row" in text
    assert "Rows lie on an exact grid of time" in text and "one row a second is left" in text
    assert "- train: episodes 0 to 1\n- test: episodes 2 to 2" in text


@pytest.mark.parametrize("name", ["plain", "special"])
def test_dataset_has_the_files_that_belong_there_and_no_path_of_this_machine(folder, name):
    root = folder / name
    assert files(root) == [DIGESTS_FILE, *EXPECTED_FILES]
    for file in files(root):
        text = (root / file).read_bytes().decode(errors="replace")
        if file.endswith(".parquet"):  # where texts may be compressed
            table = pq.read_table(root / file)
            text = f"{table.schema.metadata} {table.to_pylist()}"
        assert not [path for path in (str(folder), folder.name, str(Path.home())) if path in text], file
    if name == "special":
        [left_out] = [json.loads(line) for line in (root / "audit/quarantine.jsonl").read_text().splitlines()]
        assert left_out["source"] == "broken" and left_out["problems"][0].startswith("broken/events.jsonl:1: ")


class FakeHub:
    """Answers huggingface_hub's requests, which are real up to here, and keeps what was uploaded."""

    def __init__(self):
        self.requests: list[str] = []
        self.repository: dict = {}
        self.uploaded: dict[str, bytes] = {}
        self.tags: list[str] = []
        self.refusal: httpx.Response | Exception | None = None

    def answer(self, request: httpx.Request) -> httpx.Response:
        name = request.url.path.removeprefix("/api/").removeprefix("datasets/someone/renamed/")
        self.requests.append(f"{request.method} {name}")
        if isinstance(self.refusal, Exception):
            raise self.refusal
        match request.method, name:
            case "POST", "validate-yaml":
                return self.refusal or httpx.Response(200, json={"errors": [], "warnings": []})
            case "POST", "repos/create":
                self.repository = json.loads(request.content)
                return httpx.Response(200, json={"url": "https://huggingface.co/datasets/someone/renamed"})
            case "POST", "preupload/main":
                files = [file | {"uploadMode": "regular"} for file in json.loads(request.content)["files"]]
                return httpx.Response(200, json={"files": [file | {"shouldIgnore": False} for file in files]})
            case "POST", "commit/main":
                for line in map(json.loads, request.content.splitlines()):
                    if line["key"] == "file":
                        self.uploaded[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                answer = {"commitUrl": "https://huggingface.co/datasets/someone/renamed/commit/0", "commitOid": "0"}
                return httpx.Response(200, json={**answer, "success": True, "pullRequestUrl": None})
            case "DELETE", "tag/v3.0":
                return httpx.Response(404, headers={"X-Error-Code": "RevisionNotFound"})
            case "POST", "tag/main":
                self.tags.append(json.loads(request.content)["tag"])
                return httpx.Response(200)
        raise AssertionError(f"unexpected request: {request.method} {name}")


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    hub = FakeHub()
    set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(hub.answer)))
    yield hub
    set_client_factory(default_client_factory)


@pytest.mark.parametrize(("private", "licence"), [(False, None), (True, "cc-by-4.0")])
def test_push_uploads_the_folder_with_our_card_and_tags_the_version(folder, hub, private, licence, capsys):
    before = contents(folder / "plain")
    options = [*["--private"] * private, *([f"--license={licence}"] if licence else [])]
    assert main(["push", f"--root={folder / 'plain'}", "--repo_id=someone/renamed", *options]) == 0
    assert capsys.readouterr().out.endswith("https://huggingface.co/datasets/someone/renamed\n")
    assert sorted(hub.uploaded) == EXPECTED_FILES
    assert {name: data for name, data in hub.uploaded.items() if name != "README.md"} == {
        name: data for name, (data, _) in before.items() if name not in ("README.md", DIGESTS_FILE)
    }
    assert (hub.repository["type"], hub.repository.get("visibility")) == ("dataset", "private" if private else None)
    assert hub.tags == ["v3.0"]
    card = DatasetCard(hub.uploaded["README.md"].decode())
    assert card.data.license == licence
    assert card.text.count(PLACEHOLDER) == (licence is None)
    assert "| 0 | `mouse.x` |" in card.text and 'LeRobotDataset("someone/renamed")' in card.text
    assert contents(folder / "plain") == before


@pytest.mark.parametrize(
    ("refusal", "complaint"),
    [
        (httpx.ConnectError("[Errno -2] Name or service not known"), "the Hub cannot be reached ([Errno -2] Name or"),
        (
            httpx.Response(400, text='- Error: "license" must be one of\n [mit]'),
            '"license" must be one of [mit]; check',
        ),
        (httpx.Response(401, text="Invalid user token."), "Invalid user token; check the options and `hf auth whoami`"),
    ],
    ids=["no network", "bad licence", "not logged in"],
)
def test_push_that_fails_says_why_in_one_line_before_anything_is_uploaded(folder, hub, refusal, complaint, capsys):
    hub.refusal = refusal
    before = contents(folder / "plain")
    assert main(["push", f"--root={folder / 'plain'}", "--repo_id=someone/renamed", "--license=x"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("recordings-to-lerobot: error: someone/renamed: not uploaded: ") and complaint in line
    assert set(hub.requests) == {"POST validate-yaml"} and contents(folder / "plain") == before


def test_push_without_a_network_says_so(folder, capsys):
    # The tests run with HF_HUB_OFFLINE=1.
    assert main(["push", f"--root={folder / 'plain'}", "--repo_id=someone/plain"]) == 2
    assert "not uploaded: the Hub cannot be reached (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("root", "repo_id", "complaint"),
    [
        ("raw", "someone/plain", "holds no meta/recordings.jsonl"),
        ("nowhere", "someone/plain", "no such folder"),
        ("plain", "a b/c", "--repo_id=a b/c: Repo id must use alphanumeric chars"),
    ],
)
def test_push_of_something_else_is_refused(folder, root, repo_id, complaint, capsys):
    assert main(["push", f"--root={folder / root}", f"--repo_id={repo_id}"]) == 2
    assert complaint in capsys.readouterr().err
    assert not (folder / "nowhere").exists()


def test_card_of_many_instructions_shows_the_most_frequent(folder):
    meta = LeRobotDatasetMetadata("someone/plain", root=folder / "plain")
    record = read_records(folder / "plain")[0]
    records = [{**record, "task": f"task {index // 2 if index < 4 else index}"} for index in range(30)]
    text = describe(meta, records)
    assert "- task 0 (2 episodes)\n- task 1 (2 episodes)\n- task 4 (1 episode)\n" in text
    assert "- and 8 more" in text
