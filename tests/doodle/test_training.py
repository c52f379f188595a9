"""The training command in small: every stage runs, a killed stage resumes, the exported file is what hosts open."""

import random

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extras.doodle import arch, latents, scenes, train_student, train_vae
from extras.doodle.evaluate import Arm, draw, load_models
from extras.doodle.sampling import STUDENT_TIMES, alpha_sigma, ddim, grid, to_x0_eps
from extras.doodle.state import load_state
from extras.doodle.text import CompactText
from extras.doodle.train import Training


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(train_vae, "PICTURES", 64)
    patch.setattr(train_vae, "HELD_OUT", 2)
    patch.setattr(latents, "WHITENING_SCENES", 40)
    folder = tmp_path_factory.mktemp("training")
    training = Training(folder / "state", speed=0.0005, scenes_count=64, say=lambda *a, **k: None)
    training.vae()
    training.base()
    training.student()
    written = training.export(folder / "out")
    patch.undo()
    return training, written, folder


def test_the_command_writes_both_checkpoints_with_their_yaml(trained):
    _, written, _ = trained
    assert [p.name for p in written] == ["doodle-base.safetensors", "doodle-student.safetensors"]
    for path in written:
        assert path.stat().st_size < 25e6
        assert "parameterization: v" in path.with_suffix(".yaml").read_text()
        with safe_open(str(path), framework="pt") as file:
            keys = set(file.keys())
        assert "model.diffusion_model.input_blocks.0.0.weight" in keys
        assert "first_stage_model.decoder.mid.attn_1.q.weight" in keys
        assert "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight" in keys


def test_a_second_run_continues_where_the_first_stopped(trained, monkeypatch):
    monkeypatch.setattr(train_vae, "PICTURES", 64)
    monkeypatch.setattr(train_vae, "HELD_OUT", 2)
    training, _, _ = trained
    path = training.state / "vae.safetensors"
    vae = arch.build_vae(attention=False)
    before = load_state(path, {"vae": vae})
    train_vae.train(path, before["minutes"] + 0.01, say=lambda *a, **k: None)
    after = load_state(path, {"vae": vae})
    assert after["step"] > before["step"]
    finished = after["step"]
    train_vae.train(path, 0.0001, say=lambda *a, **k: None)
    assert load_state(path, {"vae": vae})["step"] == finished


def test_refining_leaves_the_latent_space_alone(trained):
    training, _, _ = trained
    joint, refined = arch.build_vae(attention=False), arch.build_vae(attention=False)
    load_state(training.state / "vae.safetensors", {"vae": joint})
    load_state(training.state / "refine.safetensors", {"ema": refined})
    keys = [k for k in refined.state_dict() if k.startswith(("encoder.", "quant_conv."))]
    other = load_file(str(training.state / "refine.safetensors"))
    assert keys
    for key in keys:
        assert torch.equal(refined.state_dict()[key], other[f"vae/{key}"])


def test_exported_models_compute_what_was_trained(trained):
    training, written, _ = trained
    text, unet = training.base_models()
    models = load_models(written[0])
    ours = text(torch.tensor([[arch.START_ID, 320, *[arch.END_ID] * 75]]))
    theirs = models.text(input_ids=torch.tensor([[arch.START_ID, 320, *[arch.END_ID] * 75]])).last_hidden_state
    assert torch.allclose(ours, theirs, atol=2e-2)
    x, t = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([999, 249])
    with torch.no_grad():
        a, b = unet(x, t, ours.expand(2, -1, -1)).sample, models.unet(x, t, ours.expand(2, -1, -1)).sample
    assert torch.allclose(a, b, atol=2e-2)
    pictures, reports = draw(models, "a nerd", "glasses", [1, 2], Arm("NAG", nag={"scale": 4.0}))
    assert pictures.shape == (2, 128, 128, 3)
    assert reports["NAG"].calls == 4 * 10


def test_latents_are_whitened(trained, monkeypatch):
    monkeypatch.setattr(latents, "WHITENING_SCENES", 100)
    training, _, _ = trained
    z, _ = latents.encode_scenes(training.whitened(), 96, seed=8, say=lambda *a, **k: None)
    flat = z.float().permute(1, 0, 2, 3).reshape(4, -1)
    assert flat.mean(1).abs().max() < 0.35
    assert (torch.cov(flat) - torch.eye(4)).abs().max() < 0.45


def test_text_encoder_output_has_a_mean_for_emphasis():
    output = CompactText()(torch.tensor([[arch.START_ID, 320, *[arch.END_ID] * 75]]))
    assert output.mean().abs() > 0.05


def test_segment_target_lands_on_the_next_state():
    generator = torch.Generator().manual_seed(0)
    x, x_next = (
        torch.randn(2, 4, 16, 16, generator=generator).double(),
        torch.randn(2, 4, 16, 16, generator=generator).double(),
    )
    for t, t_next in ((999, 749), (749, 499), (499, 249), (249, -1)):
        x0, eps = to_x0_eps(train_student.target_v(x, x_next, t, t_next), x, t)
        alpha, sigma = alpha_sigma(t_next)
        assert torch.allclose(alpha * x0 + sigma * eps, x_next, atol=1e-9)


def test_grids():
    assert tuple(grid(4)) == STUDENT_TIMES
    assert grid(12)[::3] == [999, 749, 499, 249]
    assert len(grid(25)) == 25 and grid(25)[-1] == 39


def test_ddim_recovers_the_clean_latent_from_a_perfect_model():
    x0 = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))

    class Oracle(torch.nn.Module):
        def forward(self, x, t, context):
            alpha, sigma = alpha_sigma(int(t[0]))
            eps = (x - alpha * x0) / sigma
            return type("Out", (), {"sample": alpha * eps - sigma * x0})

    out = ddim(Oracle(), torch.randn(1, 4, 16, 16), torch.zeros(1, 77, 64), STUDENT_TIMES)
    assert torch.allclose(out, x0, atol=1e-4)


def test_pictures_of_scenes_are_in_range():
    picture = latents.picture(scenes.random_scene(random.Random(0)))
    assert picture.shape == (3, 128, 128) and picture.min() >= -1 and picture.max() <= 1
