"""POST /text-to-image and /image-to-image on a served Studio: answers, refusals, and the truth about has_nag_pag."""

from __future__ import annotations

import base64
import io

import pytest

pytest.importorskip("httpx")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

SMALL = {"prompt": "a nerd", "width": 64, "height": 64, "num_inference_steps": 3, "guidance_scale": 1, "seed": 5}


@pytest.fixture(scope="module")
def client(engine):
    """The routes as scripts register them, behind the Studio's own API."""
    return TestClient(engine.create_api(FastAPI()), raise_server_exceptions=False)


def post(client, path="text-to-image", **fields):
    return client.post(f"/nag-time/{path}", json={**SMALL, **fields})


def data_url(image=None):
    stream = io.BytesIO()
    (image or Image.new("RGB", (64, 64), "teal")).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()


def test_it_draws_and_says_what_was_guided(client):
    plain, guided = post(client, enable_nag_pag=False).json(), post(client).json()
    assert plain["has_nag_pag"] is False and plain["nag_pag"] is None and plain["warnings"] == []
    assert guided["has_nag_pag"] is True and guided["nag_pag"]["calls"] > 0 and guided["nag_pag"]["mean_change"] > 0
    assert guided["nag_pag"]["guided_steps"] == [1, 2, 3] and guided["seed"] == 5
    assert plain["image"] != guided["image"] and guided["image"].startswith("data:image/png;base64,")
    assert post(client, nag_pag_scale=0).json()["image"] == plain["image"]
    assert post(client, enable_nag_pag=False).json()["image"] == plain["image"], "nothing of it stays"


def test_layers_by_name(client):
    every = post(client, nag_pag_applied_layers=["all"]).json()
    one = post(client, nag_pag_applied_layers=["m0"]).json()
    assert one["nag_pag"]["layers"] == 1 < every["nag_pag"]["layers"] and one["image"] != every["image"]


def test_image_to_image(client):
    answer = post(client, "image-to-image", image_url=data_url(), strength=0.9).json()
    assert answer["has_nag_pag"] is True
    with Image.open(io.BytesIO(base64.b64decode(answer["image"].split(",")[1]))) as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    ("path", "fields", "named"),
    [
        ("text-to-image", {"nag_pag_scale": 11}, "nag_pag_scale"),
        ("text-to-image", {"width": 100}, "width"),
        ("text-to-image", {"num_inference_steps": 0}, "num_inference_steps"),
        ("text-to-image", {"guidance_scale": "much"}, "guidance_scale"),
        ("text-to-image", {"prompt": ""}, "prompt"),
        ("text-to-image", {"nag_pag_layers": ["m0"]}, "nag_pag_layers"),
        ("text-to-image", {"nag_pag_applied_layers": ["transformer_blocks.99.attn"]}, "m0"),
        ("image-to-image", {"image_url": "https://example.com/picture.jpg"}, "not fetched"),
        ("image-to-image", {"image_url": "data:image/png;base64,§§"}, "image_url"),
        ("image-to-image", {"image_url": data_url(), "strength": 1.5}, "strength"),
        ("image-to-image", {}, "image_url"),
    ],
)
def test_a_bad_field_is_422_and_named(client, path, fields, named):
    answer = post(client, path, **fields)
    assert answer.status_code == 422 and named in answer.text


def test_it_is_described(client):
    described = client.get("/openapi.json").json()
    assert {"/nag-time/text-to-image", "/nag-time/image-to-image"} <= set(described["paths"])
    properties = described["components"]["schemas"]["TextToImage"]["properties"]
    assert properties["nag_pag_scale"]["maximum"] == 10


def test_without_the_hosts_api_it_says_what_to_do():
    from extras.nag.ui.http_api import add_routes

    app = FastAPI()
    add_routes(app, list)
    answer = TestClient(app).post("/nag-time/text-to-image", json=SMALL)
    assert answer.status_code == 503 and "--api" in answer.text


def test_the_studio_answers_without_a_prefix_too(engine):
    from extras.studio import server

    client = TestClient(server.app_of(engine), base_url="http://127.0.0.1:7870")
    answer = client.post("/text-to-image", json=SMALL)
    assert answer.status_code == 200 and answer.json()["has_nag_pag"] is True
    assert client.post("/image-to-image", json=SMALL).status_code == 422
