import shutil
from pathlib import Path

import pytest
import torch
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata

from lerobot_qwenvla.features.store import FEATURES_DIR, FeatureStore
from lerobot_qwenvla.features.table import FeatureTable, RowLayout, TableWriter

ROWS, TOKENS, WIDTH = 10, 3, 128


def write_table(path: Path, features: torch.Tensor, quantization: str = "none") -> FeatureTable:
    layout = RowLayout(tuple(features.shape[1:]), features.dtype, quantization)
    writer = TableWriter(path, layout)
    for batch in features.split(4):
        writer.append(batch)
    return FeatureTable(path, layout, len(features))


def relative_error(got: torch.Tensor, exact: torch.Tensor) -> float:
    return ((got.float() - exact.float()).norm() / exact.float().norm()).item()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("row_shape", [(TOKENS, WIDTH), (2, TOKENS, WIDTH)])
def test_rows_come_back_as_they_were(tmp_path, dtype, row_shape):
    features = 1e5 * torch.randn(ROWS, *row_shape).to(dtype)  # beyond half precision
    rows = torch.tensor([[9, 0, 3], [3, 3, 7]])
    read = write_table(tmp_path / "screen", features).read(rows)
    assert read.dtype == dtype
    assert torch.equal(read, features[rows])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_8_bits_are_off_by_less_than_a_hundredth(tmp_path, dtype):
    features = torch.randn(ROWS, TOKENS, 2048).to(dtype)
    table = write_table(tmp_path / "screen", features, "8bit")
    read = table.read(torch.arange(ROWS))
    assert read.dtype == dtype
    assert relative_error(read, features) < 0.01
    assert table.nbytes < 0.52 * features.float().bfloat16().nbytes + table.layout.row_bytes * (dtype == torch.float32)


def test_a_massive_channel_coarsens_only_its_neighbours(tmp_path):
    features = torch.randn(ROWS, TOKENS, 2048)
    others = torch.arange(2048) != 300
    features[..., ~others] = 300.0
    read = write_table(tmp_path / "screen", features, "8bit").read(torch.arange(ROWS))
    assert relative_error(read[..., ~others], features[..., ~others]) < 0.01
    assert relative_error(read[..., others], features[..., others]) < 0.15  # one scale a token: 0.6


def test_an_empty_token_stays_empty_in_8_bits(tmp_path):
    read = write_table(tmp_path / "screen", torch.zeros(ROWS, TOKENS, WIDTH), "8bit").read(torch.arange(ROWS))
    assert torch.equal(read, torch.zeros_like(read))


def test_a_table_that_was_moved_reads_the_same(tmp_path):
    features = torch.randn(ROWS, TOKENS, WIDTH).bfloat16()
    for quantization in ("none", "8bit"):
        table, rows = write_table(tmp_path / quantization, features, quantization), torch.tensor([[1, 2], [9, 0]])
        mapped = table.read(rows)
        table.to(torch.device("cpu"))
        assert torch.equal(table.read(rows), mapped)


def test_a_table_larger_than_memory_is_read(tmp_path):
    layout, rows = RowLayout((TOKENS, WIDTH), torch.float32), 2**30
    with (tmp_path / "screen.bin").open("wb") as file:
        file.truncate(rows * layout.row_bytes)  # 1.6 TB of holes
    read = FeatureTable(tmp_path / "screen", layout, rows).read(torch.tensor([0, rows - 1]))
    assert torch.equal(read, torch.zeros(2, TOKENS, WIDTH))


@pytest.mark.parametrize("row", [-1, ROWS])
def test_row_outside_of_the_table_is_refused(tmp_path, row):
    table = write_table(tmp_path / "screen", torch.randn(ROWS, TOKENS, WIDTH))
    with pytest.raises(ValueError, match=rf"points to rows {min(row, 0)} to {max(row, 0)} of {ROWS}"):
        table.read(torch.tensor([[0, row]]))


def test_a_half_written_row_is_not_counted(tmp_path):
    writer = TableWriter(tmp_path / "screen", RowLayout((TOKENS, WIDTH), torch.float32, "8bit"))
    features = torch.randn(ROWS, TOKENS, WIDTH)
    writer.append(features[:5])
    with (tmp_path / "screen.int8.bin").open("ab") as file:  # killed while it wrote the sixth, whose scales are missing
        file.write(b"x" * TOKENS * WIDTH)
    assert len(writer) == 5
    writer.truncate(4)
    writer.append(features[4:])
    assert len(writer) == ROWS
    table = FeatureTable(tmp_path / "screen", writer.layout, ROWS)
    assert relative_error(table.read(torch.arange(ROWS)), features) < 0.01


@pytest.fixture
def copied(feature_dataset, tmp_path) -> LeRobotDatasetMetadata:
    root = shutil.copytree(feature_dataset.root, tmp_path / "features")
    return LeRobotDatasetMetadata(feature_dataset.repo_id, root=root)


def test_a_dataset_of_pictures_has_no_store(pixel_dataset):
    assert FeatureStore.of_dataset(pixel_dataset.meta, "per_frame") is None


def test_a_truncated_table_is_refused(copied):
    table = copied.root / FEATURES_DIR / "observation.images.screen.bin"
    with table.open("r+b") as file:
        file.truncate(table.stat().st_size - 1)
    with pytest.raises(ValueError, match=r"screen\.bin: \d+ bytes, features of 26\.\d+ frames for a dataset of 27"):
        FeatureStore.of_dataset(copied, "per_frame")


def test_a_missing_table_is_refused(copied):
    (copied.root / FEATURES_DIR / "observation.images.screen.bin").unlink()
    with pytest.raises(ValueError, match=r"screen\.bin: missing; copy it again or run qwenvla-precompute-features"):
        FeatureStore.of_dataset(copied, "per_frame")


def test_features_of_an_earlier_version_are_refused(copied):
    del copied.features["observation.features.screen"]["info"]["features_shape"]
    with pytest.raises(ValueError, match=r"features of another version.*run qwenvla-precompute-features again"):
        FeatureStore.of_dataset(copied, "per_frame")


def test_reading_writes_nothing(copied):
    table = copied.root / FEATURES_DIR / "observation.images.screen.bin"
    table.chmod(0o444)
    before = table.read_bytes()
    store = FeatureStore.of_dataset(copied, "per_frame")
    store.read({"observation.images.screen": torch.tensor([[0, 1]])})["observation.images.screen"].zero_()
    assert table.read_bytes() == before
