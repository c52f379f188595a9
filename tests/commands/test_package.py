"""`pip install .` gives the library alone, under the name nag_time, with nothing of the repository beside it."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "extras" / "nag"
USE = """
import sys
sys.modules["extras"] = None
import torch, nag_time
from nag_time.version import VERSION
from nag_time.settings import list_presets
from diffusers import UNet2DConditionModel
assert {file!r} in nag_time.__file__, nag_time.__file__
assert "Flux dev" in list_presets(), list_presets()
torch.manual_seed(0)
unet = UNet2DConditionModel(block_out_channels=(8, 8), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), norm_num_groups=4, attention_head_dim=2, cross_attention_dim=8)
x, text, negative = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 8), torch.randn(1, 5, 8)
with torch.no_grad():
    plain = unet(x, 500, text).sample
    with nag_time.Run(nag_time.Settings(scale=5.0), unet, strict=True) as run:
        run.begin([500.0])
        run.set_negative(negative)
        run.step_at(500.0)
        run.call([(0, 0)])
        guided = unet(x, 500, text).sample
    assert run.report.acted and not torch.equal(plain, guided)
    assert torch.equal(unet(x, 500, text).sample, plain)
print(VERSION)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that nothing is left in the checkout."""
    folder = tmp_path_factory.mktemp("package")
    copy = folder / "source"
    (copy / "extras").mkdir(parents=True)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(LIBRARY, copy / "extras" / "nag", ignore=shutil.ignore_patterns("__pycache__", "user"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode and os.environ.get("CI", "").lower() != "true":
        pytest.skip(f"no wheel could be built here (it needs setuptools from the registry): {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_every_file_of_the_library_is_in_it_and_nothing_else(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    files = [*LIBRARY.rglob("*.py"), *(LIBRARY / "presets").glob("*.json")]
    assert inside == {f"nag_time/{path.relative_to(LIBRARY).as_posix()}" for path in files}
    assert wheel.stat().st_size < 1_000_000


def test_it_guides_where_there_is_no_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", USE.format(file=str(tmp_path))], cwd=tmp_path, capture_output=True, text=True,
        timeout=120, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == wheel.name.split("-")[1]
