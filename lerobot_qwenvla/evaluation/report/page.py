"""Figures and films as parts of one page that needs no other file."""

import base64
import io
from pathlib import Path

from matplotlib.figure import Figure


def data_url(video: Path) -> str:
    """A film in the page itself."""
    return "data:video/mp4;base64," + base64.b64encode(video.read_bytes()).decode()


def svg(figure: Figure) -> str:
    """Figure as an inline SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]
