"""The lab's metrics on known cases: a number, or the reason why there is none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from PIL import Image

from extras.doodle import scenes
from extras.lab.metrics import METRICS, Absent, cost, extractors, measure_picture, perceptual, sets, zero_shot

TOKENIZER = Path(__file__).resolve().parents[2] / "models" / "tokenizer"
SPEC = {"prompt": "a nerd on a pink background", "negative": "glasses", "target": "glasses", "subject": "nerd"}


def drawn(worn: bool, seed: int = 1) -> Image.Image:
    """A nerd, with glasses or without; nothing else differs."""
    return Image.fromarray(
        scenes.draw(scenes.Scene("portrait", "nerd", {"glasses"} if worn else set(), "pink", seed=seed))
    )


def test_deletion_is_conditional_on_the_untreated_picture():
    with_it, without = drawn(True), drawn(False)
    found = measure_picture(without, with_it, SPEC)
    assert (found["present"], found["deleted"], found["subject_kept"], found["clean"]) == (0, 1, 1, 1)
    assert measure_picture(with_it, with_it, SPEC)["deleted"] == 0
    nothing = measure_picture(without, without, SPEC)
    assert "nothing to delete" in nothing["deleted"].reason and "nothing to delete" in nothing["clean"].reason
    gone = Image.new("RGB", with_it.size, (252, 160, 200))
    found = measure_picture(gone, with_it, SPEC)
    assert (found["deleted"], found["subject_kept"], found["clean"]) == (1, 0, 0)


def test_the_untreated_picture_itself_has_no_comparison():
    found = measure_picture(drawn(True), None, SPEC)
    assert found["present"] == 1
    compared = {"deleted", "clean", "lsr", "ssim", "ms_ssim", "lpips", "ssim_background", "lpips_background"}
    assert all("no untreated picture" in found[name].reason for name in compared)


def test_identical_pictures_are_alike_and_a_correct_deletion_costs_no_background():
    with_it, without = drawn(True), drawn(False)
    same = measure_picture(with_it, with_it, SPEC)
    for name in ("ssim", "ms_ssim", "ssim_background"):
        assert same[name] == pytest.approx(1.0, abs=2e-4)  # torchmetrics works in single precision
    changed = measure_picture(without, with_it, SPEC)
    assert changed["ssim"] < changed["ssim_background"] and changed["ssim_background"] > 0.98


def test_ssim_by_the_formula_on_one_window():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 7, 7)).astype(float)
    grey = [Image.fromarray(np.repeat(each[..., None], 3, 2).astype(np.uint8)) for each in (first, second)]
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    covariance = np.cov(first.ravel(), second.ravel())
    means = first.mean(), second.mean()
    expected = ((2 * means[0] * means[1] + c1) * (2 * covariance[0, 1] + c2)) / (
        (means[0] ** 2 + means[1] ** 2 + c1) * (covariance[0, 0] + covariance[1, 1] + c2)
    )
    assert METRICS["ssim"].per_image(*grey, SPEC) == pytest.approx(expected)


@given(arrays(np.uint8, (24, 24, 3)), arrays(np.uint8, (24, 24, 3)))
@settings(max_examples=15, deadline=None)
def test_structure_is_symmetric_and_bounded(first, second):
    one, other = Image.fromarray(first), Image.fromarray(second)
    there = METRICS["ssim"].per_image(one, other, SPEC)
    assert there == pytest.approx(METRICS["ssim"].per_image(other, one, SPEC)) and -1 <= there <= 1


def test_without_weights_a_metric_is_absent_and_never_0(tmp_path):
    with_it, without = drawn(True), drawn(False)
    found = measure_picture(without, with_it, SPEC)
    for name in ("lpips", "lpips_background", "clip_positive", "clip_negative", "clipscore", "lsr"):
        assert isinstance(found[name], Absent) and "named" in found[name].reason
    wrong = tmp_path / "x.safetensors"
    wrong.write_bytes(b"nothing")
    named = {**SPEC, "clip": str(tmp_path / "none"), "lpips": str(wrong), "detector": str(tmp_path / "none")}
    found = measure_picture(without, with_it, named)
    for name in ("present", "deleted", "clean", "ssim_background", "lpips", "clipscore", "lsr"):
        assert isinstance(found[name], Absent), name
    assert "no checkpoint at" in found["present"].reason and "neither AlexNet's nor" in found["lpips"].reason
    assert found["ssim"] < 1


def test_what_the_pixel_detector_does_not_know_is_absent():
    found = measure_picture(drawn(False), drawn(True), {**SPEC, "target": "teapot", "subject": ""})
    assert "does not know 'teapot'" in found["deleted"].reason and "no subject" in found["subject_kept"].reason


def test_other_sizes_and_tiny_pictures_are_absent():
    small = drawn(True).resize((4, 4))
    assert "differ in size" in measure_picture(small, drawn(True), SPEC)["ssim"].reason
    found = measure_picture(small, small, SPEC)
    assert isinstance(found["ssim"], Absent) and isinstance(found["ms_ssim"], Absent)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_lpips_is_that_of_torchmetrics(net, tmp_path, monkeypatch):
    from safetensors.torch import save_file
    from torchmetrics.functional.image import lpips as reference

    torch.manual_seed(0)
    model = perceptual.Lpips(net)
    file = tmp_path / "features.safetensors"
    save_file({f"features.{name}": value for name, value in model.features.state_dict().items()}, file)
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *_, **__: model.features)
    theirs = reference._LPIPS(pretrained=True, net=net, pnet_rand=True)
    one, other = drawn(True), drawn(False)
    tensors = [torch.from_numpy(np.array(each)).permute(2, 0, 1)[None].float() / 127.5 - 1 for each in (one, other)]
    spec = {**SPEC, "lpips": str(file)}
    found = measure_picture(one, other, spec, ["lpips", "lpips_background"])
    assert found["lpips"] == pytest.approx(float(theirs(*tensors)), rel=1e-4) and found["lpips"] > 0
    assert 0 < found["lpips_background"] < found["lpips"]
    assert measure_picture(one, one, spec, ["lpips"])["lpips"] == 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny random CLIP checkpoint in a folder, as a user would name one."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(3)
    config = CLIPConfig(
        text_config={**small, "vocab_size": len(tokenizer), "projection_dim": 8},
        vision_config={**small, "image_size": 32, "patch_size": 16, "projection_dim": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder, safe_serialization=True)
    size = {"shortest_edge": 32}
    images = CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return str(folder)


def test_clip_metrics_by_the_definition(clip):
    from transformers import CLIPModel, CLIPProcessor

    with_it, without = drawn(True), drawn(False)
    found = measure_picture(without, with_it, {**SPEC, "clip": clip})
    model, processor = CLIPModel.from_pretrained(clip), CLIPProcessor.from_pretrained(clip)
    with torch.no_grad():
        texts = [SPEC["prompt"], SPEC["negative"]]
        both = model(**processor(text=texts, images=[without], return_tensors="pt", padding=True))
    cosines = (both.image_embeds @ both.text_embeds.T)[0].tolist()
    assert [found["clip_positive"], found["clip_negative"]] == pytest.approx(cosines, abs=1e-5)
    assert found["clipscore"] == pytest.approx(100 * max(0.0, cosines[0]), abs=1e-3)
    if isinstance(found["lsr"], Absent):
        assert min(cosines) <= 0
    else:
        assert found["lsr"] == -measure_picture(with_it, without, {**SPEC, "clip": clip})["lsr"]


def test_presence_by_an_image_text_model_has_no_places(clip):
    found = measure_picture(drawn(False), drawn(True), {**SPEC, "detector": clip})
    assert found["present"] in (0.0, 1.0)
    assert "presence but not place" in found["ssim_background"].reason


def test_a_detectors_boxes_make_the_mask():
    found = zero_shot.Found(True, ((10.2, 20.0, 30.5, 40.0),))
    mask = found.mask((64, 48), margin=2)
    assert mask.shape == (48, 64) and mask.any()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (18, 41, 8, 32)
    assert not zero_shot.Found(False, ()).mask((8, 8), 2).any()


def test_other_weights_than_safetensors_are_not_opened(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    found = measure_picture(drawn(True), None, {**SPEC, "detector": str(tmp_path)})
    assert "no safetensors" in found["present"].reason


def test_fid_by_scipy_and_kid_by_the_definition():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(2)
    real, fake = rng.normal(0, 1, (300, 5)), rng.normal(0.4, 1.3, (300, 5))
    a, b = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    expected = ((real.mean(0) - fake.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert sets.fid(real, fake) == pytest.approx(expected, rel=1e-6)
    kernel = lambda x, y: (x @ y.T / 5 + 1) ** 3  # noqa: E731 (the formula, as it is written in the paper)
    off = ~np.eye(300, dtype=bool)
    unbiased = kernel(real, real)[off].mean() + kernel(fake, fake)[off].mean() - 2 * kernel(real, fake).mean()
    assert sets.kid(real, fake) == pytest.approx(unbiased, rel=1e-6)
    assert sets.fid(real, real) == pytest.approx(0, abs=1e-6)


def test_diversity_is_within_prompts():
    table = np.array([[0.0, 0.0], [3.0, 4.0], [100.0, 0.0], [100.0, 0.0]])
    assert sets.diversity(table, ["a", "a", "b", "b"]) == 2.5
    with pytest.raises(ValueError, match="no prompt"):
        sets.diversity(table, list("abcd"))


def test_sets_of_an_arm_against_the_untreated_set(tmp_path):
    untreated, treated = ([drawn(worn, seed) for seed in range(20)] for worn in (True, False))
    prompts = ["nerd"] * 20
    of = {name: metric.per_set for name, metric in METRICS.items() if metric.per_set}
    assert of["fid"](treated, untreated, None, prompts) > of["fid"](untreated, untreated, None, prompts) - 1e-9 >= -1e-6
    assert of["kid"](treated, untreated, "grid", prompts) > of["kid"](untreated, untreated, "grid", prompts)
    assert of["diversity"](treated, [], None, prompts) > 0
    assert "no untreated set" in of["fid"](untreated, [], None, prompts).reason
    assert "fewer than" in of["kid"](treated[:4], untreated[:4], None, prompts[:4]).reason
    assert "differ in size" in of["kid"](treated[:4], untreated, None, prompts[:4]).reason
    assert "no checkpoint" in of["fid"](treated, untreated, str(tmp_path / "none"), prompts).reason
    assert "two pictures" in of["diversity"](treated[:2], [], None, ["a", "b"]).reason


def test_a_vision_checkpoint_extracts_features(clip):
    found = extractors.features([drawn(True), drawn(False), drawn(True)], clip)
    assert found.shape == (3, 8) and (found[0] == found[2]).all() and (found[0] != found[1]).any()


def test_the_grid_is_the_mean_colours():
    picture = Image.new("RGB", (16, 16), (255, 0, 51))
    assert extractors.grid(picture).reshape(8, 8, 3)[3, 5] == pytest.approx([1, 0, 0.2])


def test_latency_leaves_the_warm_up_out_and_memory_is_the_peak():
    seconds = {"untreated": [9.0, 1.0, 1.0, 1.0, 1.2], "NAG": [9.0, 1.5, 1.5, 1.5, 1.5]}
    rows = [("m", arm, s, 100.0 + i) for arm, all_ in seconds.items() for i, s in enumerate(all_)]
    table = cost.cost(pd.DataFrame(rows, columns=["model", "arm", "seconds", "memory_mb"])).set_index("arm")
    assert table.loc["NAG", "median_s"] == 1.5 and table.loc["NAG", "over_untreated"] == 1.5
    assert table.loc["NAG", "memory_mb"] == 104 and table.loc["untreated", "n"] == 4
    none = cost.cost(pd.DataFrame([("m", "NAG", 1.0, np.nan)], columns=["model", "arm", "seconds", "memory_mb"]))
    assert np.isnan(none.memory_mb[0])
