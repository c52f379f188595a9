"""Tiny random models with the structure of the real ones: diffusers UNets, and an ldm-style UNet written for
the tests."""

import torch
from diffusers import UNet2DConditionModel
from torch import nn

CONTEXT = 24  # channels of the text


def sd1():
    """SD 1.x: 16 text cross-attentions."""
    torch.manual_seed(1)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 16, 32, 32),
        norm_num_groups=8,
        attention_head_dim=2,
        cross_attention_dim=CONTEXT,
    ).eval()


def sd2():
    """SD 2.x: linear projections, head count per level."""
    torch.manual_seed(2)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32, 32, 32),
        norm_num_groups=8,
        attention_head_dim=(2, 4, 4, 4),
        use_linear_projection=True,
        cross_attention_dim=CONTEXT,
    ).eval()


def sdxl():
    """SDXL: transformers of depth 2 and 10, 70 text cross-attentions, pooled text and sizes as extra
    input."""
    torch.manual_seed(3)
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        norm_num_groups=8,
        attention_head_dim=(2, 2, 2),
        use_linear_projection=True,
        cross_attention_dim=CONTEXT,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=8 * 6 + 16,
    ).eval()


def ldm(depths=(1, 1, 1, 0), middle=1, width=16):
    """An ldm-style UNet; ``depths``: transformer depth per level (SD 1.x: 1 1 1 0, SDXL: 0 2 10)."""
    torch.manual_seed(4)
    return LdmUNet(depths, middle, width).eval()


class Callable:
    """A UNet of either family behind one call."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x, t, context):
        with torch.no_grad():
            out = self.model(x, torch.as_tensor(t), context)
        return getattr(out, "sample", out)


class LdmAttention(nn.Module):
    def __init__(self, width, context=None, heads=2):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context or width, width, bias=False)
        self.to_v = nn.Linear(context or width, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0.0))
        self.by_members = False  # some hosts' attention kernels call the members of to_out one by one

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        out = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        return self.to_out[1](self.to_out[0](out)) if self.by_members else self.to_out(out)


class LdmBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attn1, self.attn2 = LdmAttention(width), LdmAttention(width, CONTEXT)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x, context):
        x = x + self.attn1(self.norm1(x))
        return x + self.attn2(self.norm2(x), context=context)


class LdmTransformer(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.transformer_blocks = nn.ModuleList(LdmBlock(width) for _ in range(depth))

    def forward(self, x, context):
        y = x.flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            y = block(y, context)
        return x + y.transpose(1, 2).reshape(x.shape)


class LdmRes(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, x, context):
        return torch.tanh(self.conv(x))


class Downsample(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x, context):
        return self.op(x)


class Upsample(nn.Module):
    def forward(self, x, context):
        return nn.functional.interpolate(x, scale_factor=2)


class LdmStage(nn.Sequential):
    def forward(self, x, context):
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, context)
        return x


class LdmUNet(nn.Module):
    """Two residual blocks per level down, three up, a transformer behind each where the level has some."""

    def __init__(self, depths, middle, width):
        super().__init__()

        def stage(before, depth):
            return [LdmRes(before, width)] + ([LdmTransformer(width, depth)] if depth else [])

        self.input_blocks = nn.ModuleList([LdmStage(nn.Conv2d(4, width, 3, padding=1))])
        for level, depth in enumerate(depths):
            self.input_blocks.extend(LdmStage(*stage(width, depth)) for _ in range(2))
            if level + 1 < len(depths):
                self.input_blocks.append(LdmStage(Downsample(width)))
        self.middle_block = LdmStage(LdmRes(width, width), LdmTransformer(width, middle), LdmRes(width, width))
        self.output_blocks = nn.ModuleList()
        for level, depth in reversed(list(enumerate(depths))):
            for i in range(3):
                up = [Upsample()] if level and i == 2 else []
                self.output_blocks.append(LdmStage(*stage(2 * width, depth), *up))
        self.out = nn.Conv2d(width, 4, 3, padding=1)

    def forward(self, x, t, context):
        x = x + 0.001 * t.reshape(-1, 1, 1, 1)
        skips = []
        for block in self.input_blocks:
            x = block(x, context)
            skips.append(x)
        x = self.middle_block(x, context)
        for block in self.output_blocks:
            x = block(torch.cat([x, skips.pop()], 1), context)
        return self.out(x)


class HostModel(nn.Module):
    """A WebUI keeps its UNet two wrappers deep, with a control model beside it."""

    def __init__(self, unet):
        super().__init__()
        self.model = nn.Module()
        self.model.diffusion_model = unet
        self.cond_stage_model = nn.Linear(2, 2)
