"""The programs of docs/EXTENDING.md do what the page says."""

import re
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from extras.nag import Run, Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "EXTENDING.md"
TIMES, SIGMAS = [999.0, 749.0, 499.0, 249.0], [14.6, 5.0, 2.0, 0.8, 0.0]


@pytest.fixture(scope="module")
def programs():
    space = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), space)
    return space


@pytest.fixture
def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(8, 8), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=8,
    ).eval()  # fmt: skip


def test_the_method_guides_by_its_own_formula_in_its_window(programs, unet):
    x, text = torch.randn(2, 4, 16, 16), torch.randn(2, 3, 8)
    with torch.no_grad():
        plain = unet(x, 999, text).sample
        with Run(Settings(), unet, strict=True, how=programs["mean_guidance"](4.0)) as run:
            run.begin(TIMES)
            for t in TIMES:
                run.step_at(t)
                run.call([(1, 0)])
                guided = unet(x, t, text).sample
                if t == TIMES[0]:
                    assert torch.equal(guided[0], plain[0]) and not torch.allclose(guided[1], plain[1], atol=1e-4)
        assert torch.equal(unet(x, 999, text).sample, plain)
    report = run.report
    assert report.acted and report.method == "mean" and report.guided_steps == [1, 2, 3]
    assert report.calls == 3 * report.layers


def test_its_branch_is_the_mean_of_the_values(programs):
    branch = programs["MeanBranch"]()
    values = torch.arange(24.0).reshape(2, 4, 3)
    z_neg = branch.features(None, values, torch.zeros(2, 4, 3), None)
    assert torch.equal(z_neg[1, 2], values[1].mean(0)) and z_neg.shape == (2, 4, 3)


def test_the_host_guides_and_restores(programs, unet):
    torch.manual_seed(1)
    texts = torch.randn(3, 1, 4, 8)
    settings = Settings(enabled=True, scale=6.0, end=0.5, cooldown=0.5)
    off, reports = programs["euler"](unet, *texts, SIGMAS, TIMES, 3.0, Settings(nag=False))
    on, reports = programs["euler"](unet, *texts, SIGMAS, TIMES, 3.0, settings)
    assert reports["NAG"].acted and reports["NAG"].guided_steps == [1, 2, 3] and not torch.allclose(on, off, atol=1e-4)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in unet.modules())
    same, reports = programs["euler"](unet, texts[0], texts[1], texts[0], SIGMAS, TIMES, 3.0, Settings(scale=6.0))
    assert torch.allclose(same, off, atol=1e-4), "the negative equal to the prompt changes nothing"
