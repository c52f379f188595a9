"""/sdapi/v1 as clients see it: answers, refusals, and a server that stays up."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

BASE = {
    "prompt": "a nerd",
    "steps": 2,
    "width": 64,
    "height": 64,
    "seed": 7,
    "cfg_scale": 1,
    "sampler_name": "Euler",
    "scheduler": "Simple",
}


@pytest.fixture(scope="module")
def client(engine):
    with TestClient(engine.create_api(FastAPI()), raise_server_exceptions=False) as client:
        yield client


def _post(client, path, status=200, **body):
    answer = client.post(f"/sdapi/v1/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def _get(client, path):
    answer = client.get(f"/sdapi/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def _image(text):
    return Image.open(io.BytesIO(base64.b64decode(text)))


def _b64(image):
    out = io.BytesIO()
    image.save(out, format="PNG")
    return base64.b64encode(out.getvalue()).decode()


def test_txt2img(client, draw):
    answer = _post(client, "txt2img", **BASE, batch_size=2)
    assert len(answer["images"]) == 2 and set(answer) == {"images", "parameters", "info"}
    image, info = _image(answer["images"][0]), json.loads(answer["info"])
    assert image.size == (64, 64) and image.info["parameters"] == info["infotexts"][0]
    assert info["all_seeds"] == [7, 8] and info["sampler_name"] == "Euler" and info["comments"] == []
    assert answer["parameters"]["steps"] == 2 and answer["parameters"]["prompt"] == "a nerd"
    alone = draw().images[0]
    assert np.abs(np.asarray(image, int) - np.asarray(alone, int)).max() <= 1


def test_img2img(client):
    start = _b64(Image.new("RGB", (64, 64), "red"))
    answer = _post(client, "img2img", **BASE, init_images=["data:image/png;base64," + start], denoising_strength=0.5)
    assert _image(answer["images"][0]).size == (64, 64) and answer["parameters"]["init_images"] is None
    kept = _post(
        client,
        "img2img",
        **BASE,
        init_images=[start],
        include_init_images=True,
        mask=_b64(Image.new("L", (64, 64), 255)),
    )
    assert kept["parameters"]["init_images"] == [start]


def test_saving(client, recorder, engine):
    _post(client, "txt2img", **BASE)
    assert recorder.of("image_saved") == []
    _post(client, "txt2img", **BASE, save_images=True)
    assert recorder.of("image_saved")[0]["filename"].startswith(str(engine.outputs_dir))


def test_alwayson_scripts_are_positional_and_names_are_in_any_case(client, recorder):
    _post(client, "txt2img", **BASE, alwayson_scripts={"ReCorder": {"args": ["spoken"]}})
    assert recorder.of("process")[-1]["args"] == ("spoken", 2.5, False)
    _post(client, "txt2img", **BASE, alwayson_scripts={"recorder": {"args": ["a", 1, True, "too", "many"]}})
    assert recorder.of("process")[-1]["args"] == ("a", 1, True)
    _post(client, "txt2img", **BASE, alwayson_scripts={"recorder": {}})
    assert recorder.of("process")[-1]["args"] == ("plain", 2.5, False)


def test_a_selectable_script(client, recorder):
    answer = _post(client, "txt2img", **BASE, script_name="Chosen", script_args=[2])
    assert len(answer["images"]) == 2 and recorder.of("run")[0]["times"] == 2


def test_infotext_sets_what_the_request_does_not(client, recorder):
    first = _post(client, "txt2img", **BASE, alwayson_scripts={"recorder": {"args": ["from, text", 7.5]}})
    info = json.loads(first["info"])["infotexts"][0]
    again = _post(client, "txt2img", infotext=info)
    assert again["images"][0] == first["images"][0]
    assert recorder.of("process")[-1]["args"] == ("from, text", 7.5, False)
    other = _post(client, "txt2img", infotext=info, seed=8)
    assert json.loads(other["info"])["seed"] == 8 and json.loads(other["info"])["prompt"] == "a nerd"


def test_override_settings(client, engine):
    plain = _post(client, "txt2img", **BASE)
    skip = _post(client, "txt2img", **BASE, override_settings={"CLIP_stop_at_last_layers": 2})
    assert skip["images"] != plain["images"] and "Clip skip: 2" in skip["info"]
    assert _post(client, "txt2img", **BASE)["images"] == plain["images"]
    beta = _post(client, "txt2img", **BASE, override_settings={"sd_model_checkpoint": "beta"})
    assert "Model: beta" in beta["info"]
    assert "Model: alpha" in _post(client, "txt2img", **BASE)["info"]
    said = json.loads(
        _post(client, "txt2img", **BASE, override_settings={"no_such_setting": 1, "sd_model_checkpoint": "nope"})[
            "info"
        ]
    )
    assert any("no_such_setting" in c for c in said["comments"]) and any("nope" in c for c in said["comments"])


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("steps", 0, ["steps", "0", "from 1 to 150"]),
        ("steps", 2.5, ["2.5", "integer"]),
        ("steps", "many", ["many"]),
        ("steps", True, ["True"]),
        ("width", 63, ["63", "64 to 2048"]),
        ("width", 65, ["multiple of 8"]),
        ("height", 10**9, ["2048"]),
        ("cfg_scale", -1, ["cfg_scale", "-1", "from 0 to 100"]),
        ("batch_size", 0, ["from 1 to 64"]),
        ("batch_size", 1e300, ["batch_size"]),
        ("n_iter", 0, ["n_iter"]),
        ("seed", -2, ["seed"]),
        ("seed", "x", ["seed"]),
        ("denoising_strength", 1.5, ["0 to 1"]),
        ("prompt", "x" * 60000, ["prompt", "50000"]),
        ("prompt", ["a"], ["prompt", "text"]),
        ("styles", 3, ["styles"]),
        ("override_settings", [1], ["override_settings"]),
        ("override_settings", {"CLIP_stop_at_last_layers": 99}, ["99", "1 to 12"]),
        ("override_settings", {"emphasis": "loud"}, ["loud", "Original"]),
        ("alwayson_scripts", {"nobody": {"args": []}}, ["nobody", "recorder"]),
        ("alwayson_scripts", {"chosen": {"args": []}}, ["always-on"]),
        ("alwayson_scripts", [], None),
        ("alwayson_scripts", [1], ["alwayson_scripts"]),
        ("alwayson_scripts", {"recorder": {"args": {}}}, ["list of values"]),
        ("alwayson_scripts", {"recorder": 3}, ["object"]),
        ("script_name", "nobody", ["nobody", "chosen"]),
        ("infotext", 3, ["infotext"]),
        ("tiling", "perhaps", ["true or false"]),
    ],
)
def test_impossible_values_are_named(client, field, value, words):
    answer = client.post("/sdapi/v1/txt2img", json={**BASE, field: value})
    if words is None:
        assert answer.status_code == 200
        return
    assert answer.status_code == 422, answer.text
    assert all(word in answer.json()["detail"] for word in words), answer.json()["detail"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(client, number):
    body = json.dumps({**BASE, "cfg_scale": "@"}).replace('"@"', number)
    answer = client.post("/sdapi/v1/txt2img", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422 and "cfg_scale" in answer.text


def test_too_much_at_once(client):
    assert (
        "at most"
        in _post(client, "txt2img", 422, **{**BASE, "batch_size": 64, "width": 2048, "height": 2048})["detail"]
    )
    hires = {**BASE, "enable_hr": True}
    assert "hr_scale" in _post(client, "txt2img", 422, **{**hires, "width": 2048, "hr_scale": 8})["detail"]
    assert "hr_upscaler" in _post(client, "txt2img", 422, **hires, hr_upscaler="Magic")["detail"]


def test_unknown_samplers_list_the_known_ones(client):
    detail = _post(client, "txt2img", 400, **{**BASE, "sampler_name": "Oiler"})["detail"]
    assert "Sampler 'Oiler' not found" in detail and "Euler a" in detail
    assert "Karras" in _post(client, "txt2img", 400, **{**BASE, "scheduler": "Nope"})["detail"]
    assert "Euler a" in _post(client, "txt2img", 400, **BASE, enable_hr=True, hr_sampler_name="Oiler")["detail"]


@pytest.mark.parametrize(
    "picture", ["", "no base64!", base64.b64encode(b"no picture").decode(), "http://127.0.0.1/x.png", None, 3]
)
def test_pictures_that_are_none(client, picture):
    assert "init_images" in _post(client, "img2img", 422, **BASE, init_images=[picture])["detail"]
    assert "image" in _post(client, "png-info", 422, image=picture)["detail"]


def test_no_pictures(client):
    assert "init_images" in _post(client, "img2img", 422, **BASE)["detail"]


@pytest.mark.parametrize("body", ["", "[]", "{", "3", "null"])
def test_bodies_that_are_no_object(client, body, recorder, engine):
    recorder.listeners["process"] = lambda d: (
        engine.interrupt()
    )  # an empty body is a job of defaults: 50 steps of 512x512
    assert client.post("/sdapi/v1/txt2img", content=body, headers={"content-type": "application/json"}).status_code in (
        200,
        422,
    )
    assert _get(client, "progress")["progress"] == 0


def test_an_unforeseen_error_is_500_and_the_next_request_works(client, engine):
    handle = engine.model.model.register_forward_pre_hook(lambda m, a: 1 / 0)
    try:
        answer = _post(client, "txt2img", 500, **BASE)
    finally:
        handle.remove()
    assert answer["error"] == "ZeroDivisionError" and "division by zero" in answer["detail"]
    assert _post(client, "txt2img", **BASE)["images"]


@pytest.mark.parametrize(
    "prompt", ["", "((((", "[a:b", "a AND", "AND", "\\", "<lora:x:1>", "🐈 ∅ \u0000 \ud7ff", "x " * 600, "BREAK BREAK"]
)
def test_odd_prompts_draw(client, prompt):
    assert _post(client, "txt2img", **{**BASE, "steps": 1, "prompt": prompt, "negative_prompt": prompt})["images"]


def test_progress_and_interrupt_while_running(client, engine, recorder):
    seen = []

    def look(details):
        seen.append(_get(client, "progress"))
        if details["step"] == 1:
            _post(client, "interrupt")

    recorder.listeners["cfg_denoiser"] = look
    answer = _post(client, "txt2img", **{**BASE, "steps": 8}, n_iter=2)
    assert [s["state"]["sampling_step"] for s in seen] == [0, 0] and seen[-1]["state"]["sampling_steps"] == 8
    assert all(0 < s["progress"] < 1 and s["state"]["job_count"] == 2 for s in seen)
    assert _image(seen[-1]["current_image"]).size == (64, 64)
    assert len(answer["images"]) == 1 and _get(client, "progress")["progress"] == 0


def test_lists(client, engine):
    assert [s["name"] for s in _get(client, "samplers")] == engine.sampler_names()
    assert {"name": "karras", "label": "Karras"}.items() <= {**_get(client, "schedulers")[2]}.items()
    models = _get(client, "sd-models")
    assert [m["model_name"] for m in models] == ["alpha", "beta"] or {m["model_name"] for m in models} == {
        "alpha",
        "beta",
    }
    assert (
        next(m for m in models if m["model_name"] == "alpha")["title"]
        == f"alpha.safetensors [{engine.model.sd_model_hash}]"
    )
    assert _get(client, "scripts") == {"txt2img": ["recorder", "chosen"], "img2img": ["recorder", "chosen"]}
    info = _get(client, "script-info")
    assert [(s["name"], s["is_img2img"], s["is_alwayson"]) for s in info] == [
        ("recorder", False, True),
        ("chosen", False, False),
        ("recorder", True, True),
        ("chosen", True, False),
    ]
    for path in (
        "upscalers",
        "latent-upscale-modes",
        "embeddings",
        "loras",
        "sd-vae",
        "hypernetworks",
        "face-restorers",
        "realesrgan-models",
        "prompt-styles",
        "memory",
        "cmd-flags",
        "extensions",
    ):
        assert _get(client, path) is not None


def test_options(client, engine):
    options = _get(client, "options")
    assert options["sd_model_checkpoint"].startswith("alpha") and options["emphasis"] == "Original"
    _post(client, "options", CLIP_stop_at_last_layers=2)
    assert _get(client, "options")["CLIP_stop_at_last_layers"] == 2
    _post(client, "options", **options)
    assert _get(client, "options") == options
    assert _post(client, "options", no_such_thing=1) == {"unknown": ["no_such_thing"]}
    assert "from 1 to 12" in _post(client, "options", 422, CLIP_stop_at_last_layers=0)["detail"]
    assert "alpha" in _post(client, "options", 422, sd_model_checkpoint="nope")["detail"]
    _post(client, "options", outdir_txt2img_samples="/tmp/elsewhere")
    assert _get(client, "options")["outdir_txt2img_samples"] == options["outdir_txt2img_samples"]


def test_png_info(client):
    image = _post(client, "txt2img", **BASE)["images"][0]
    info = _post(client, "png-info", image="data:image/png;base64," + image)
    assert info["info"].startswith("a nerd\nSteps: 2") and info["parameters"]["Seed"] == "7"
    assert _post(client, "png-info", image=_b64(Image.new("RGB", (4, 4)))) == {
        "info": "",
        "items": {},
        "parameters": {},
    }


def test_extensions_are_told_that_the_server_is_up(client, recorder, engine):
    app = FastAPI()
    engine.create_api(app)
    assert recorder.of("app_started")[0]["app"] is app
