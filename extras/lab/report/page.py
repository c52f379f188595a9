"""The page: one HTML file that needs nothing else. Every text is escaped; every picture is inside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image

LARGEST = 256  # pixels of an embedded picture's longer side

CSS = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")


def esc(value: object) -> str:
    """Text for a page."""
    return html.escape(str(value), quote=True)


def document(title: str, body: Iterable[str]) -> str:
    """The whole file. title: plain text; body: HTML."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{esc(title)}</title>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>\n<body>\n'
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "", text: Sequence[int] = ()) -> str:
    """A table of HTML cells; text: columns that hold words."""

    def cell(tag: str, place: int, value: str) -> str:
        return f'<{tag} class="text">{value}</{tag}>' if place in text else f"<{tag}>{value}</{tag}>"

    lines = ["".join(cell("td", place, value) for place, value in enumerate(row)) for row in rows]
    if not lines:
        return '<p class="soft">None.</p>'
    top = "".join(cell("th", place, value) for place, value in enumerate(head))
    said = f'<p class="soft">{caption}</p>' if caption else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'{said}<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def drawing(svg: str, caption: str) -> str:
    """A plot."""
    data = base64.b64encode(svg.encode()).decode()
    return (
        f'<figure><img alt="{esc(caption)}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{esc(caption)}</figcaption></figure>"
    )


def picture(path: Path) -> str:
    """A picture's data address; made smaller where it is large."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        if max(image.size) > LARGEST:
            image.thumbnail((LARGEST, LARGEST))
        out = io.BytesIO()
        image.save(out, format="WEBP", quality=88)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
