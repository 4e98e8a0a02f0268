"""Looks into the packets of an H.264 video without decoding them (ITU-T H.264 §7.3.1, ISO/IEC 14496-15 §5.3.3.1)."""

# Slices of pictures, and what a decoder may leave out: supplementary information, delimiters, filler.
_HARMLESS = {1, 2, 3, 4, 5, 6, 9, 12}


class PacketInspector:
    """Tells whether packets can stand behind those of other videos in one file.

    A parameter set in a packet replaces the one of that number for everything that follows, so that a damaged
    packet could spoil other episodes. Encoders may repeat those that the file begins with; nothing else.
    """

    def __init__(self, extradata: bytes):
        """`extradata` is an AVCDecoderConfigurationRecord, as in MP4; with any other no packet is contained."""
        self._parameter_sets: set[bytes] = set()
        self._length_bytes = 0
        if len(extradata) < 7 or extradata[0] != 1:
            return
        self._length_bytes = (extradata[4] & 3) + 1
        at = 5
        for mask in (0x1F, 0xFF):
            count = extradata[at] & mask
            at += 1
            for _ in range(count):
                size = int.from_bytes(extradata[at : at + 2])
                self._parameter_sets.add(extradata[at + 2 : at + 2 + size])
                at += 2 + size
                if at >= len(extradata):
                    return

    def is_contained(self, packet: bytes) -> bool:
        """Whether a packet is whole and changes nothing for the packets of other videos."""
        if not self._length_bytes:
            return False
        at = 0
        while at + self._length_bytes < len(packet):
            size = int.from_bytes(packet[at : at + self._length_bytes])
            at += self._length_bytes
            kind = packet[at] & 0x1F
            if kind not in _HARMLESS and packet[at : at + size] not in self._parameter_sets:
                return False
            at += size
        return at == len(packet)
