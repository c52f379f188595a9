"""The plain Flux reference stands on its own feet: without guidance it is the model itself."""

import joint_reference
import pytest
import torch
from diffusers import FluxTransformer2DModel

ROWS, SIDE, WORDS, CONTEXT, POOLED = 2, 3, 5, 20, 12


@pytest.fixture(scope="module", params=[False, True], ids=["schnell", "dev"])
def model(request):
    torch.manual_seed(6)
    made = FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=3,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=CONTEXT,
        pooled_projection_dim=POOLED,
        guidance_embeds=request.param,
        axes_dims_rope=(4, 6, 6),
    )
    return made.eval().double()


def inputs(model, seed=0, words=WORDS):
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3)
    guidance = {"guidance": torch.full((ROWS,), 3.5, dtype=torch.float64)} if model.config.guidance_embeds else {}
    return guidance | {
        "hidden_states": noise(ROWS, SIDE * SIDE, 16),
        "encoder_hidden_states": noise(ROWS, words, CONTEXT),
        "pooled_projections": noise(ROWS, POOLED),
        "timestep": torch.tensor([0.75, 0.3], dtype=torch.float64),
        "img_ids": places.double(),
        "txt_ids": torch.zeros(words, 3, dtype=torch.float64),
    }


def plain(model, given):
    with torch.no_grad():
        return model(**given, return_dict=False)[0]


def test_scale_one_is_the_model_itself(model):
    given, other = inputs(model), inputs(model, seed=1, words=7)
    negative = other["encoder_hidden_states"], other["pooled_projections"]
    out = joint_reference.flux_nag(model, given, *negative, scale=1.0, tau=2.5, alpha=0.5)
    assert torch.allclose(out, plain(model, given), atol=1e-5)


def test_the_prompt_as_its_own_negative_changes_nothing(model):
    given = inputs(model)
    negative = given["encoder_hidden_states"], given["pooled_projections"]
    out = joint_reference.flux_nag(model, given, *negative, scale=6.0, tau=2.5, alpha=0.5)
    assert torch.allclose(out, plain(model, given), atol=1e-5)


def test_text_and_pooled_of_the_negative_both_matter(model):
    given, other = inputs(model), inputs(model, seed=1)
    text, pooled = other["encoder_hidden_states"], other["pooled_projections"]
    both, only_text, only_pooled = (
        joint_reference.flux_nag(model, given, *negative, scale=4.0, tau=2.5, alpha=0.5)
        for negative in ((text, pooled), (text, given["pooled_projections"]), (given["encoder_hidden_states"], pooled))
    )
    for a, b in ((both, plain(model, given)), (both, only_text), (both, only_pooled), (only_text, only_pooled)):
        assert (a - b).abs().max() > 1e-3


def test_nag_pag_acts_in_the_blocks_named_and_only_there(model):
    given = inputs(model)
    nothing = joint_reference.flux_nag_pag(model, given, scale=3.0, tau=2.5, alpha=0.5, blocks=())
    assert torch.allclose(nothing, plain(model, given), atol=1e-5)
    first, last = (
        joint_reference.flux_nag_pag(model, given, scale=3.0, tau=2.5, alpha=0.5, blocks=(index,)) for index in (0, 1)
    )
    assert (first - nothing).abs().max() > 1e-3
    assert (last - nothing).abs().max() > 1e-3
    assert (first - last).abs().max() > 1e-3
