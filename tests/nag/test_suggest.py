"""Which preset a name suggests, and that every preset says where its numbers come from."""

import pytest

from extras.nag.presetbook import load_builtin
from extras.nag.suggest import suggest


@pytest.mark.parametrize(
    ("name", "preset"),
    [
        ("sd_xl_turbo_1.0_fp16", "SDXL Turbo"),
        ("juggernautXL_v9Rdphoto2Lightning", "SDXL Lightning"),
        ("someXLLightning", "SDXL Lightning"),
        ("dmd2_sdxl_4step_lora", "SDXL DMD2"),
        ("Hyper-SDXL-8steps-lora", "SDXL Hyper"),
        ("lcm-lora-sdxl", "SDXL LCM"),
        ("lcm-lora-sdv1-5", "SD1.5 LCM"),
        ("pcm_sdxl_smallcfg_4step_converted", "SDXL PCM"),
        ("TCD-SDXL-LoRA", "SDXL TCD"),
        ("flash-sdxl", "SDXL Flash"),
        ("sd_xl_base_1.0", "SDXL base"),
        ("sd3.5_large", "SD3.5 Large"),
        ("sd3.5_large_turbo", "SD3.5 Turbo"),
        ("flux1-dev-bnb-nf4", "Flux dev"),
        ("flux1-schnell-fp8", "Flux schnell"),
        ("chroma-unlocked-v27", "Chroma"),
        ("v1-5-pruned-emaonly", ""),
        ("newflashback", ""),
        ("doodle-student", ""),
        ("doodle-flux", "Doodle Flux"),
        ("", ""),
    ],
)
def test_a_name_suggests_its_family(name, preset):
    assert suggest([name]) == preset


def test_a_lora_goes_before_the_checkpoint():
    assert suggest(["dmd2_sdxl_4step_lora", "sd_xl_base_1.0"]) == "SDXL DMD2"
    assert suggest(["my_style", "sd_xl_base_1.0"]) == "SDXL base"


@pytest.mark.parametrize("preset", load_builtin(), ids=lambda p: p.name)
def test_every_preset_names_the_source_of_its_numbers(preset):
    assert preset.source and preset.note and preset.settings
    if preset.match:
        assert set(preset.host) == {"sampler", "scheduler", "steps", "cfg"}
        assert "2505.21179" in preset.source and ("card" in preset.source or "experiments" in preset.source)
