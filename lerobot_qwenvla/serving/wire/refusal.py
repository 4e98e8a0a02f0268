"""What a client is told when the server does not do what it asks."""

from grpc import StatusCode

MAX_REASON = 300  # characters: a status travels in a header of 8 KB


class Refusal(Exception):  # noqa: N818
    """A gRPC status and a short reason."""

    def __init__(self, code: StatusCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def short(reason: object) -> str:
    """On one line, in ASCII, and cut: some of it may be a client's own words."""
    return " ".join(str(reason)[: 2 * MAX_REASON].split()).encode("ascii", "backslashreplace").decode()[:MAX_REASON]
