"""`report.html`: one page with everything to see of a folder of recordings."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from recordings_to_lerobot.inspection import figures, wording
from recordings_to_lerobot.inspection.episode import FolderInspection

_STRIP_HEIGHT_PX = 320
_FIGURES = (
    figures.frame_intervals,
    figures.jitter,
    figures.event_rate,
    figures.idle_time,
    figures.uses,
    figures.mouse_map,
)


@dataclass(frozen=True)
class Filmstrip:
    """Pictures of one recording."""

    source: str
    time_s: Sequence[float]
    pictures: Sequence[Image.Image]


def render_report(
    folder: FolderInspection, idle_s: float, idle_mode: str, strip: Filmstrip | None, overlays: dict[str, str]
) -> str:
    """The page, as HTML that needs no other file but the `overlays`: by episode, addresses of videos to watch.

    `idle_s` and `idle_mode` are the options the rows that stay were counted with.
    """
    environment = Environment(
        loader=PackageLoader("recordings_to_lerobot.inspection", "."), autoescape=True, undefined=StrictUndefined
    )
    drawings = {draw.__name__: _svg(draw(folder.inspections)) for draw in _FIGURES if folder.inspections}
    if folder.offset:
        drawings["offset_curve"] = _svg(figures.offset_curve(folder.offset))
    return environment.get_template("report.html.jinja").render(
        folder=folder,
        totals=folder.totals,
        figures=drawings,
        idle_s=idle_s,
        idle_mode=idle_mode,
        strip_source=strip.source if strip else "",
        strip=[(t, _jpeg(p)) for t, p in zip(strip.time_s, strip.pictures, strict=True)] if strip else [],
        overlays=overlays,
        wording=wording,
    )


def _svg(figure: Figure) -> str:
    """Figure as an inline SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()[text.getvalue().index("<svg") :]


def _jpeg(picture: Image.Image) -> str:
    """Picture as an address that holds it."""
    width_px = round(picture.width * _STRIP_HEIGHT_PX / picture.height)
    data = io.BytesIO()
    picture.resize((width_px, _STRIP_HEIGHT_PX), Image.Resampling.LANCZOS).save(data, format="jpeg", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()
