"""What POST /text-to-image and /image-to-image take and answer; their OpenAPI description is made from this."""

from __future__ import annotations

from typing import Any, Optional

from pydantic import BaseModel, Field

from ..field import MAX_TEXT
from ..fields import FIELDS

try:
    from pydantic import ConfigDict
except ImportError:  # pydantic 1, which some WebUIs have
    ConfigDict = None  # type: ignore[assignment,misc]

MAX_IMAGE = 64 * 1024 * 1024  # characters of a data URL
_SCALE = FIELDS["nag_pag_scale"]


class _Strict(BaseModel):
    """Unknown fields are refused."""

    if ConfigDict is not None:
        model_config = ConfigDict(extra="forbid")
    else:

        class Config:
            extra = "forbid"


class TextToImage(_Strict):
    """A picture from words."""

    prompt: str = Field(..., min_length=1, max_length=MAX_TEXT, description="What to draw.")
    width: int = Field(1024, ge=64, le=2048, multiple_of=8, description="Pixels.")
    height: int = Field(1024, ge=64, le=2048, multiple_of=8, description="Pixels.")
    num_inference_steps: int = Field(20, ge=1, le=150)
    guidance_scale: float = Field(3.5, ge=1, le=30, description="CFG scale; 1 for few-step models.")
    seed: Optional[int] = Field(None, ge=0, le=2**32 - 1, description="Left out: a random one, told in the answer.")  # noqa: UP045
    enable_nag_pag: bool = Field(True, description="False: the picture is drawn without guidance.")
    nag_pag_scale: float = Field(3.0, ge=_SCALE.minimum, le=_SCALE.maximum, description="0 switches it off.")
    nag_pag_applied_layers: Optional[list[str]] = Field(  # noqa: UP045
        None, description="Layers by name; wildcards and ranges as in the panel. Left out: the model's usual ones."
    )


class ImageToImage(TextToImage):
    """A picture from a picture and words."""

    image_url: str = Field(
        ..., max_length=MAX_IMAGE, description="data:image/png;base64,... (PNG, JPEG, WebP). Addresses are not fetched."
    )
    strength: float = Field(0.8, ge=0, le=1, description="Share of the steps that are drawn anew.")


class NagPag(BaseModel):
    """What guidance did: counted, not asked for."""

    layers: int
    calls: int
    mean_change: float
    guided_steps: list[int]


class Answer(BaseModel):
    """``image``: PNG as a data URL. ``has_nag_pag``: true where at least one attention call was guided."""

    image: str
    seed: int
    has_nag_pag: bool
    nag_pag: Optional[NagPag]  # noqa: UP045
    warnings: list[str]
    infotext: str


def refused(field: str, value: Any, allowed: str) -> list[dict[str, Any]]:
    """The details of a 422 in FastAPI's shape."""
    shown = value if len(str(value)) <= 80 else f"{str(value)[:77]}..."
    return [
        {
            "loc": ["body", field],
            "msg": f"{field}: {shown!r} is not possible; allowed: {allowed}",
            "type": "value_error",
        }
    ]
