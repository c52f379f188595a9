"""The `webuiapi` package from PyPI, unchanged, against a real server on loopback."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import uvicorn
from fastapi import FastAPI
from PIL import Image

webuiapi = pytest.importorskip("webuiapi")


@pytest.fixture(scope="module")
def api(engine):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(engine.create_api(FastAPI()), host="127.0.0.1", port=port, log_level="error")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.time() + 20
    while not server.started and time.time() < deadline:
        time.sleep(0.02)
    yield webuiapi.WebUIApi(host="127.0.0.1", port=port, sampler="Euler", steps=2)
    server.should_exit = True
    thread.join(10)


def test_txt2img(api, recorder):
    res = api.txt2img(
        prompt="a nerd",
        negative_prompt="hat",
        width=64,
        height=64,
        seed=3,
        cfg_scale=1,
        alwayson_scripts={"Recorder": {"args": ["through webuiapi"]}},
    )
    assert res.image.size == (64, 64) and res.info["all_seeds"] == [3] and res.parameters["prompt"] == "a nerd"
    assert recorder.of("process")[0]["args"][0] == "through webuiapi"


def test_hires(api):
    res = api.txt2img(
        prompt="x", width=64, height=64, enable_hr=True, hr_scale=1.5, hr_upscaler=webuiapi.HiResUpscaler.Latent
    )
    assert res.image.size == (96, 96)


def test_img2img_and_inpainting(api):
    image, mask = Image.new("RGB", (64, 64), "green"), Image.new("L", (64, 64), 255)
    assert api.img2img(images=[image], prompt="x", width=64, height=64, denoising_strength=0.5).image.size == (64, 64)
    assert api.img2img(
        images=[image], mask_image=mask, prompt="x", width=64, height=64, inpainting_fill=1
    ).image.size == (64, 64)


def test_png_info(api):
    made = api.txt2img(prompt="a nerd", width=64, height=64)
    assert "a nerd" in api.png_info(made.image).info


def test_the_lists_and_helpers(api):
    assert "Euler a" in api.util_get_sampler_names() and "karras" in api.util_get_scheduler_names()
    assert api.get_scripts()["txt2img"][0] == "recorder"
    assert api.util_get_current_model().startswith("alpha")
    api.util_set_model("beta")
    assert api.util_get_current_model().startswith("beta")
    api.util_set_model("alpha")
    api.util_wait_for_ready()
    assert api.get_progress()["progress"] == 0
    for call in (
        api.get_cmd_flags,
        api.get_upscalers,
        api.get_latent_upscale_modes,
        api.get_loras,
        api.get_sd_models,
        api.get_sd_vae,
        api.get_hypernetworks,
        api.get_face_restorers,
        api.get_realesrgan_models,
        api.get_prompt_styles,
        api.refresh_checkpoints,
        api.get_embeddings,
        api.get_memory,
        api.get_schedulers,
        api.interrupt,
        api.skip,
    ):
        call()


def test_options_go_back_and_forth(api):
    options = api.get_options()
    api.set_options({**options, "CLIP_stop_at_last_layers": 2})
    assert api.get_options()["CLIP_stop_at_last_layers"] == 2
    api.set_options(options)


def test_a_refusal_is_an_error_with_the_reason(api):
    with pytest.raises(RuntimeError, match="from 1 to 150"):
        api.txt2img(prompt="x", steps=0)


def test_two_clients_at_once_take_turns(api):
    results = {}

    def work(seed):
        results[seed] = api.txt2img(prompt="a", width=64, height=64, seed=seed, cfg_scale=1).image.tobytes()

    alone = {s: api.txt2img(prompt="a", width=64, height=64, seed=s, cfg_scale=1).image.tobytes() for s in (1, 2)}
    threads = [threading.Thread(target=work, args=(s,)) for s in (1, 2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert results == alone
