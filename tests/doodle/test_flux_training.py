"""The Flux doodle's training in small: the stages run and resume, and the file that comes out is the trained model."""

import random
import shutil

import pytest
import torch

from extras.doodle import MODELS, captions, flux_arch, flux_checkpoint, flux_stages, flux_train
from extras.doodle.flux_measure import draw
from extras.doodle.flux_model import FluxDoodle, euler, sigmas
from extras.doodle.flux_stages import FluxTraining
from extras.doodle.state import load_state


def silent(*args, **kwargs):
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(flux_stages, "TRAJECTORIES", 64)
    patch.setattr(flux_train, "TEACHER_STEPS", 4)
    patch.setattr(flux_train, "BATCH", 8)
    folder = tmp_path_factory.mktemp("flux")
    training = FluxTraining(folder / "state", MODELS / "doodle-base.safetensors", 0.0005, 16, say=silent)
    training.flow()
    training.straight()
    path = training.export(folder / "out")
    patch.undo()
    return training, path


def test_the_exported_pipeline_computes_what_was_trained(trained):
    training, path = trained
    assert path.stat().st_size < 12e6
    model, pipe = training.averaged("straight"), flux_checkpoint.load(path)
    made = draw(pipe, "a nerd, pink background", [7], steps=4)
    assert made.shape == (1, 128, 128, 3)
    noise = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(7))[None]
    latent = euler(model, noise, model.encode(["a nerd, pink background"]), 4)[-1]
    packed = pipe(
        "a nerd, pink background", latents=pipe._pack_latents(noise, 1, 4, 16, 16), num_inference_steps=4,
        output_type="latent",
    ).images  # fmt: skip
    theirs = pipe._unpack_latents(packed, 128, 128, 8)
    assert torch.allclose(latent, theirs, atol=2e-2)  # the file is float16


def test_a_stage_goes_on_where_it_stopped(trained, tmp_path):
    training, _ = trained
    path = tmp_path / "flow.safetensors"
    shutil.copy(training.state / "flow.safetensors", path)
    before = load_state(path, {})
    model = flux_train.fresh()
    latents = torch.randn(4, 4, 16, 16).half()
    content = [flux_train.scenes.random_scene(random.Random(i)) for i in range(4)]
    flux_train.train_flow(path, model, latents, content, before["minutes"] + 0.005, silent)
    after = load_state(path, {})
    assert after["step"] > before["step"]
    flux_train.train_flow(path, model, latents, content, 0.0001, silent)
    assert load_state(path, {})["step"] == after["step"]


def test_straightening_leaves_the_encoders_alone(trained):
    training, _ = trained
    flow, straight = training.averaged("flow"), training.averaged("straight")
    for part in ("sequence", "pooled"):
        for a, b in zip(getattr(flow, part).parameters(), getattr(straight, part).parameters(), strict=True):
            assert torch.equal(a, b)
    moved = zip(flow.transformer.parameters(), straight.transformer.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in moved)


def test_every_caption_fits_and_has_known_words_only():
    model, rng = FluxDoodle(captions.words()), random.Random(5)
    texts = [captions.caption(flux_train.scenes.random_scene(rng), rng) for _ in range(3000)]
    for tokenizer in (model.sequence_tokenizer, model.pooled_tokenizer):
        for ids in tokenizer(texts).input_ids:
            assert len(ids) <= flux_arch.TEXT_TOKENS
            assert tokenizer.unk_token_id not in ids


def test_case_and_unknown_words():
    model = FluxDoodle(["a", "nerd", ","])
    for tokenizer in (model.sequence_tokenizer, model.pooled_tokenizer):
        assert tokenizer("A NERD,a").input_ids == tokenizer("a nerd , a").input_ids
        assert tokenizer("zebra").input_ids == tokenizer("quagga").input_ids
        assert tokenizer.unk_token_id in tokenizer("zebra").input_ids


def test_a_straight_target_lands_on_the_next_stop():
    states = torch.randn(3, 5, 4, 16, 16, dtype=torch.float64).float()
    picks = [0, 1, 2, 0, 1, 2, 0, 1]
    for along in (0.0, 0.25, 1.0):
        x, sigma, velocity = flux_train.straight_batch(states, picks, lambda n, at=along: torch.full((n,), at))
        for row, pick in enumerate(picks):
            stop = row % 4
            left = sigma[row] - (1 - (stop + 1) / 4)
            assert torch.allclose(x[row] - left * velocity[row], states[pick, stop + 1], atol=1e-5)


def test_euler_follows_a_straight_flow_to_its_end():
    clean, noise = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    text = (torch.zeros(1, 3, 8), torch.zeros(1, 8))
    seen = []

    def oracle(x, sigma, given):
        assert given[0].shape[0] == given[1].shape[0] == len(x)
        seen.append(float(sigma[0]))
        return noise - clean

    states = euler(oracle, noise, text, 4)
    assert seen == sigmas(4)[:-1] == [1.0, 0.75, 0.5, 0.25]
    assert torch.allclose(states[-1], clean, atol=1e-5)
    assert torch.allclose(states[2], (clean + noise) / 2, atol=1e-5)


def test_guidance_pushes_away_from_the_negative():
    def model(x, sigma, text):
        return text[1][:, :, None, None].expand_as(x)

    ones, twos = (torch.full((1, 4), value) for value in (1.0, 2.0))
    end = euler(model, torch.zeros(1, 4, 2, 2), (ones[:, None], twos), 2, cfg=3.0, negative=(ones[:, None], ones))[-1]
    assert torch.allclose(end, torch.full_like(end, -(1 + 3 * (2 - 1.0))))


def test_what_is_no_checkpoint_is_refused_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        flux_checkpoint.load(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    for path in (tmp_path / "broken.safetensors", MODELS / "doodle-base.safetensors"):
        with pytest.raises(ValueError, match=path.stem):
            flux_checkpoint.load(path)
