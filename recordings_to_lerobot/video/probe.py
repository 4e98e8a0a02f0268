"""What the packets of a video tell: checked without decoding."""

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from recordings_to_lerobot.recordings.validation import RecordingError
from recordings_to_lerobot.video.decode import REEXPORT, open_video
from recordings_to_lerobot.video.h264 import PacketInspector


@dataclass(frozen=True)
class VideoFacts:
    """What the packets of a video tell without decoding them."""

    codec: str
    pix_fmt: str
    size_px: tuple[int, int]  # width, height
    parameters: str  # digest of what a decoder knows before the first packet, and remembers after the last
    packed_order: bytes  # of `frame_of_packet`: a plan holds those of all episodes, by the hour
    n_frames: int  # that are shown; an edit list may hide some of the packets
    n_key_frames: int
    stands_alone: bool  # every packet is shown, and neither needs nor changes anything outside of this video
    mean_decoded: float  # frames that a decoder passes to reach one, on average

    @property
    def frame_of_packet(self) -> np.ndarray:
        """The place in presentation order of each packet, as they are stored.  # (P,) int32"""
        ahead = np.frombuffer(zlib.decompress(self.packed_order), dtype=np.int32)
        return np.arange(len(ahead), dtype=np.int32) + ahead

    @property
    def delay_frames(self) -> int:
        """How many frames decoding runs ahead of presentation, for codecs that look into the future."""
        frame_of_packet = self.frame_of_packet
        return int((np.arange(len(frame_of_packet)) - frame_of_packet).max())


def check_video(path: Path, n_frames: int) -> VideoFacts:
    """Checks integrity and number of frames of a video by its packets alone.

    Raises:
        RecordingError: It is damaged, or is not of `n_frames`.
    """
    pts: list[int | None] = []
    is_key: list[bool] = []
    whole = shown = 0
    try:
        with open_video(path) as container:
            if not container.streams.video:
                raise RecordingError(f"{path}: holds no video stream; {REEXPORT}")
            stream = container.streams.video[0]
            context = stream.codec_context
            if context is None:
                raise RecordingError(f"{path}: its codec is unknown to FFmpeg; re-encode it, for example as H.264")
            size_px = (context.width, context.height)
            promised = stream.frames
            codec, pix_fmt = stream.codec.canonical_name, str(context.pix_fmt)
            parameters = (codec, pix_fmt, context.profile, context.extradata)
            inspector = PacketInspector(context.extradata or b"") if codec == "h264" else None
            for packet in container.demux(stream):
                if packet.size:  # the last one only flushes
                    if not pts:
                        parameters += (_rotation(context, packet),)
                    pts.append(packet.pts)
                    is_key.append(packet.is_keyframe)
                    whole += not packet.is_corrupt
                    shown += not packet.is_corrupt and not packet.is_discard
                    if inspector:
                        inspector.add(bytes(packet))
    except av.FFmpegError as error:
        raise RecordingError(f"{path}: damaged or cut off ({error.strerror}); {REEXPORT}") from None
    found = len(pts)
    # What an edit list hides may be missing.
    if whole < max(promised, found) and shown != n_frames:
        raise RecordingError(f"{path}: cut off after {whole} of {max(promised, found)} frames; {REEXPORT}")
    if shown != n_frames:
        raise RecordingError(
            f"{path}: {shown} frames, but frame_ts.bin has {n_frames} ticks; {REEXPORT}, or pass --repair=[frames]"
        )
    is_ordered = None not in pts and len(set(pts)) == found
    if inspector:
        parameters += tuple(sorted(inspector.encoder))
    frame_of_packet = np.argsort(np.argsort(pts)) if is_ordered else np.arange(found)  # (P,)
    begins_with_key = is_ordered and is_key[0] and frame_of_packet[0] == 0
    key_frames = np.sort(frame_of_packet[is_key])
    if begins_with_key:
        decoded = np.arange(found) - key_frames[np.searchsorted(key_frames, np.arange(found), side="right") - 1] + 1
    else:
        decoded = np.full(found, found)
    return VideoFacts(
        codec=codec,
        pix_fmt=pix_fmt,
        size_px=size_px,
        parameters=hashlib.blake2b(repr(parameters).encode(), digest_size=8).hexdigest(),
        packed_order=zlib.compress((frame_of_packet - np.arange(found)).astype(np.int32).tobytes()),
        n_frames=shown,
        n_key_frames=len(key_frames),
        stands_alone=bool(begins_with_key and shown == found and (inspector is None or inspector.is_contained)),
        mean_decoded=float(decoded.mean()),
    )


def _rotation(context: av.VideoCodecContext, packet: av.Packet) -> int | None:
    """By how many degrees players turn the pictures, as the first one tells; None if it cannot be decoded."""
    try:
        for frame in (*context.decode(packet), *context.decode(None)):
            return frame.rotation
    except av.FFmpegError:
        return None
    return None
