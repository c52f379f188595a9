"""Seeds, batches, infotext and files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

ALL = [
    "DPM++ 2M",
    "DPM++ SDE",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Heun",
    "DPM++ 2S a",
    "DPM++ 3M SDE",
    "Euler a",
    "Euler",
    "LMS",
    "Heun",
    "DPM2",
    "DPM2 a",
    "DPM fast",
    "DPM adaptive",
    "DDIM",
    "LCM",
]


def _same(a, b, tolerance=1):
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max() <= tolerance


def _array(image):
    return np.asarray(image, int)


def test_every_sampler_is_listed(engine):
    assert engine.sampler_names() == ALL


@pytest.mark.parametrize("sampler", [s for s in ALL if s != "DPM adaptive"])
def test_a_batch_of_two_is_two_single_pictures(draw, sampler):
    args = {"sampler_name": sampler, "scheduler": "Automatic", "steps": 3, "cfg_scale": 2}
    both = draw(batch_size=2, seed=20, **args).images
    assert _same(both[0], draw(seed=20, **args).images[0])
    assert _same(both[1], draw(seed=21, **args).images[0])
    assert not _same(both[0], both[1], 8)


def test_dpm_adaptive_runs_and_overruns_its_steps(draw, recorder, engine):
    # its step size depends on the whole batch (in A1111 too), and on a random network it takes very many steps
    recorder.listeners["cfg_after_cfg"] = lambda d: (
        engine.interrupt() if len(recorder.of("cfg_after_cfg")) == 9 else None
    )
    assert draw(sampler_name="DPM adaptive", steps=2).images[0].size == (64, 64)
    assert [d["step"] for d in recorder.of("cfg_denoiser")] == list(range(9))


def test_the_same_seed_gives_the_same_bytes_and_batches_follow_on(draw):
    first = draw(sampler_name="Euler a", seed=3, n_iter=2).images
    again = draw(sampler_name="Euler a", seed=3, batch_size=1, n_iter=2).images
    assert [x.tobytes() for x in first] == [x.tobytes() for x in again]
    assert first[1].tobytes() == draw(sampler_name="Euler a", seed=4).images[0].tobytes()


def test_variation_seeds(draw):
    base, other = draw(seed=1).images[0], draw(seed=2).images[0]
    assert _same(draw(seed=1, subseed=2, subseed_strength=0.0).images[0], base)
    full = draw(seed=1, subseed=2, subseed_strength=1.0)
    assert _same(full.images[0], other)
    assert "Variation seed: 2, Variation seed strength: 1" in full.info
    batch = draw(seed=1, subseed=5, subseed_strength=0.3, batch_size=2)
    assert batch.all_seeds == [1, 1] and batch.all_subseeds == [5, 6] and not _same(*batch.images, 4)


def test_a_random_seed_is_written_down(draw):
    res = draw(seed=-1)
    assert res.seed >= 0 and f"Seed: {res.seed}" in res.info
    assert draw(seed=res.seed).images[0].tobytes() == res.images[0].tobytes()


def test_img2img_of_strength_0_is_nearly_free_of_noise_and_1_is_not(draw):
    start = Image.fromarray(np.full((64, 64, 3), 128, np.uint8))
    little = draw(init_images=[start], denoising_strength=0.0, seed=1).images[0]
    assert _same(little, draw(init_images=[start], denoising_strength=0.0, seed=1).images[0], 0)
    both = draw(init_images=[start], denoising_strength=0.6, seed=1, batch_size=2).images
    assert _same(both[1], draw(init_images=[start], denoising_strength=0.6, seed=2).images[0])


@pytest.mark.parametrize("fill", [0, 1, 2, 3])
@pytest.mark.parametrize("full_res", [True, False])
def test_inpainting_keeps_what_is_not_masked(draw, recorder, fill, full_res):
    rng = np.random.default_rng(0)
    start = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    image = draw(
        init_images=[start],
        mask=mask,
        mask_blur=0,
        denoising_strength=0.8,
        inpainting_fill=fill,
        inpaint_full_res=full_res,
        steps=4,
    ).images[0]
    assert image.size == (64, 64)
    kept = np.abs(_array(image)[:, :30] - _array(start)[:, :30])
    assert kept.max() <= 1 and np.abs(_array(image)[:, 34:] - _array(start)[:, 34:]).mean() > 5
    assert [d["final"] for d in recorder.of("on_mask_blend")][-1] is True


def test_a_blank_mask_is_plain_img2img_and_says_so(draw):
    start = Image.new("RGB", (64, 64), "red")
    res = draw(init_images=[start], mask=Image.new("L", (64, 64), 0))
    assert "mask is blank" in res.comments


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_resize_modes(draw, mode):
    assert draw(init_images=[Image.new("RGB", (96, 40), "blue")], resize_mode=mode).images[0].size == (64, 64)


def test_sizes_that_are_not_multiples_of_what_the_network_likes(draw):
    assert draw(width=88, height=72).images[0].size == (88, 72)


@pytest.mark.parametrize("upscaler", ["Latent", "Latent (nearest-exact)", "Lanczos"])
def test_hires_upscalers(draw, upscaler):
    res = draw(enable_hr=True, hr_scale=1.5, hr_upscaler=upscaler, denoising_strength=0.6)
    assert res.images[0].size == (96, 96)


def test_hires_resize_crops_to_the_wanted_size(draw):
    res = draw(enable_hr=True, hr_resize_x=128, hr_resize_y=96, denoising_strength=0.6)
    assert res.images[0].size == (128, 96)
    assert "Hires resize: 128x96" in res.info


def test_infotext_round_trip(draw, engine):
    prompt = 'a nerd, (pink:1.2) "background"\nsecond line: yes'
    res = draw(
        prompt=prompt,
        negative_prompt="glasses,\nhat",
        sampler_name="DPM++ 2M",
        scheduler="Karras",
        steps=3,
        cfg_scale=1.5,
        seed=9,
    )
    info = engine.png_info(res.images[0])
    assert info["info"] == res.infotexts[0]
    p = info["parameters"]
    assert p["Prompt"] == prompt and p["Negative prompt"] == "glasses,\nhat"
    assert (p["Steps"], p["Sampler"], p["Schedule type"], p["CFG scale"], p["Seed"]) == (
        "3",
        "DPM++ 2M",
        "Karras",
        "1.5",
        "9",
    )
    assert (p["Size-1"], p["Size-2"], p["Model"]) == ("64", "64", "alpha")
    fields, script_values = engine.read_infotext(info["info"], "txt2img")
    again = engine.txt2img({**fields, "do_not_save_samples": True})
    assert again.images[0].tobytes() == res.images[0].tobytes() and script_values == {3: False}


def test_saved_files_stay_in_their_folder_and_carry_the_infotext(engine, draw, recorder):
    res = draw(prompt="../../escape/<b>", do_not_save_samples=False, seed=5)
    from pathlib import Path

    saved = Path(recorder.of("image_saved")[0]["filename"])
    assert engine.outputs_dir in saved.resolve().parents and saved.suffix == ".png" and "5" in saved.name
    with Image.open(saved) as image:
        assert image.info["parameters"] == res.infotexts[0]


def test_a_picture_without_infotext(engine):
    info = engine.png_info(Image.new("RGB", (8, 8)))
    assert info["info"] == "" and info["parameters"] == {}


def test_grid(draw):
    res = draw(batch_size=2, n_iter=2, do_not_save_grid=False)
    assert len(res.images) == 5 and res.index_of_first_image == 1 and res.images[0].size == (128, 128)


@pytest.mark.parametrize(
    "quoted", ["plain", "with, comma", "with: colon", 'with "quotes", and \\ backslash', "line\nbreak", '"', ""]
)
def test_quoting(engine, quoted):
    from modules.infotext_utils import parse_generation_parameters, quote, unquote

    assert unquote(quote(quoted)) == quoted
    text = f"prompt\nSteps: 1, My key: {quote(quoted)}, Seed: 3, Size: 8x8"
    got = parse_generation_parameters(text)
    assert got.get("My key", "") == quoted and got["Seed"] == "3"


def test_conditionings_are_cached_and_the_cache_is_the_callers(engine, draw, recorder):
    from modules import prompt_parser

    made = []

    def learn(model, prompts, steps, *rest):
        made.append(list(prompts))
        return prompt_parser.get_learned_conditioning(model, prompts, steps, *rest)

    def use(d):
        cache = [None, None]
        texts = prompt_parser.SdConditioning(["glasses"], width=64, height=64, is_negative_prompt=True)
        one = d["p"].get_conds_with_caching(learn, texts, 2, [cache], None)
        two = d["p"].get_conds_with_caching(learn, texts, 2, [cache], None)
        assert one is two is cache[1]
        d["p"].get_conds_with_caching(learn, texts, 3, [cache], None)

    recorder.listeners["process"] = use
    draw()
    assert made == [["glasses"], ["glasses"]]
