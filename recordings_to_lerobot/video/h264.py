"""Looks into the packets of an H.264 video without decoding them (ITU-T H.264 §7.3.1, ISO/IEC 14496-15 §5.3.3.1)."""

# Slices of pictures, and what a decoder may leave out: supplementary information, delimiters, filler.
_HARMLESS = {1, 2, 3, 4, 5, 6, 9, 12}
# Of supplementary information, FFmpeg remembers which x264 it came from, and decodes what follows accordingly.
_X264 = bytes.fromhex("dc45e9bde6d948b7962cd820d923eeef")


class PacketInspector:
    """Tells what the packets of a video leave behind in a decoder.

    What a damaged packet leaves behind could spoil the episodes that follow it in a file.

    Attributes:
        encoder: What the packets say about the encoder that made them.
        is_contained: Whether every packet so far was whole, and brought no parameter set but those that the video
            begins with, which some encoders repeat.
    """

    def __init__(self, extradata: bytes):
        """`extradata` is an AVCDecoderConfigurationRecord, as in MP4; with any other no packet is contained."""
        self.encoder: set[bytes] = set()
        self.is_contained = len(extradata) >= 7 and extradata[0] == 1
        self._parameter_sets: set[bytes] = set()
        if not self.is_contained:
            return
        self._length_bytes = (extradata[4] & 3) + 1
        at = 5
        for count_mask in (0x1F, 0xFF):
            count = extradata[at] & count_mask if at < len(extradata) else 0
            at += 1
            for _ in range(count):
                size = int.from_bytes(extradata[at : at + 2])
                self._parameter_sets.add(extradata[at + 2 : at + 2 + size])
                at += 2 + size

    def add(self, packet: bytes) -> None:
        """Looks at the next packet."""
        if not self.is_contained:
            return
        at = 0
        while at + self._length_bytes < len(packet):
            start = at + self._length_bytes
            at = start + int.from_bytes(packet[at:start])
            unit = packet[start:at]
            if _X264 in unit[:32]:
                self.encoder.add(unit)
            if packet[start] & 0x1F not in _HARMLESS and unit not in self._parameter_sets:
                self.is_contained = False
        self.is_contained &= at == len(packet)
