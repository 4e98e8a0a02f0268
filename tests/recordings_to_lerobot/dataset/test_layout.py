import pytest
from hypothesis import given
from hypothesis import strategies as st

from recordings_to_lerobot.dataset.layout import Layout, read_layout, write_layout
from recordings_to_lerobot.recordings.validation import RecordingError

CODECS = st.sampled_from(["h264", "av1"])
NAMES = st.sampled_from(["yuv420p", "no"])  # `no` is a bool in YAML, unless it is quoted


GOOD = "fps: 10\nwidth_px: 4\nheight_px: 4\ncodec: h264\npix_fmt: yuv420p"


@given(
    st.builds(
        Layout,
        *[st.integers(1, 10_000)] * 3,
        codec=CODECS,
        pix_fmt=NAMES,
        mouse_scale=st.none() | st.floats(1e-3, 1e6),
    )
)
def test_written_is_what_is_read(tmp_path_factory, layout):
    path = tmp_path_factory.mktemp("layout") / "new folder/layout.yaml"
    write_layout(path, layout)
    assert read_layout(path) == layout


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file"),
        ("", "None"),
        ("fps: [", "not YAML"),
        (GOOD.replace("fps: 10", "fps: 0"), "`fps` is 0"),
        (GOOD.replace("fps: 10", "fps: fast"), "`fps` is 'fast'"),
        (GOOD.replace("height_px: 4", ""), "height_px"),
        (GOOD.replace("h264", "vp9"), "`codec` is 'vp9'"),
        (f"{GOOD}\nfsp: 10", "fsp"),
    ],
)
def test_what_is_no_layout_is_told_with_its_path(tmp_path, content, problem):
    path = tmp_path / "layout.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(RecordingError, match=f"layout.yaml: .*{problem}"):
        read_layout(path)
