import av
import pytest

from recordings_to_lerobot.video.h264 import PacketInspector
from tests.recordings_to_lerobot.raw_recordings import write_video

SPS, PPS, SLICE = b"\x67\x64\x00\x0a", b"\x68\xeb", b"\x65\x88\x84"
RECORD = b"\x01\x64\x00\x0a\xff\xe1\x00\x04" + SPS + b"\x01\x00\x02" + PPS


def packet(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4) + unit for unit in units)


@pytest.mark.parametrize(
    ("content", "contained"),
    [
        (packet(SLICE), True),
        (packet(b"\x06\x05", SLICE, SLICE), True),
        (packet(SPS, PPS, SLICE), True),  # repeated, as some encoders do for every key frame
        (packet(SPS + b"\x01", PPS, SLICE), False),
        (packet(b"\x68\xec", SLICE), False),
        (packet(SLICE)[:-1], False),
        (packet(SLICE) + b"\x00", False),
        (packet(b"\x18", SLICE), False),
        (b"", True),
    ],
)
def test_packets_with_parameter_sets_of_their_own_are_found(content, contained):
    assert inspect(RECORD, content).is_contained == contained


def inspect(record: bytes, *packets: bytes) -> PacketInspector:
    inspector = PacketInspector(record)
    for content in packets:
        inspector.add(content)
    return inspector


@pytest.mark.parametrize("record", [b"", b"\x00\x00\x00\x01\x67", RECORD[:9]])
def test_without_its_record_no_packet_is_trusted_with_parameter_sets(record):
    assert not inspect(record, packet(SPS, PPS, SLICE)).is_contained


def test_one_bad_packet_is_not_forgotten():
    assert not inspect(RECORD, packet(b"\x18"), packet(SLICE)).is_contained


def test_encoder_of_a_real_video_is_found_and_its_packets_are_contained(tmp_path):
    write_video(tmp_path / "video.mp4", 20, options={"g": "5"})
    with av.open(tmp_path / "video.mp4") as container:
        extradata = container.streams.video[0].codec_context.extradata
        inspector = inspect(extradata, *(bytes(packet) for packet in container.demux(video=0) if packet.size))
    assert inspector.is_contained
    [encoder] = inspector.encoder
    assert b"x264 - core" in encoder
