"""The state everybody shares: settings, the running job, the loaded model."""

from __future__ import annotations

from modules import devices, options, shared_options, styles, upscaler_data
from modules.options import OptionHTML, OptionInfo, options_section  # noqa: F401
from modules.shared_cmd_options import cmd_opts, parser  # noqa: F401
from modules.shared_state import State

opts = options.Options(dict(shared_options.options_templates), shared_options.restricted_opts)
options_templates = opts.data_labels
restricted_opts = opts.restricted_opts
state = State()
sd_model = None
"""The loaded model, or None before the first load."""

device: devices.torch.device = devices.device
config_filename: str | None = None
prompt_styles = styles.StyleDatabase()
hypernetworks: dict = {}
loaded_hypernetworks: list = []
face_restorers: list = []
sd_upscalers = upscaler_data.upscalers()
demo = None
"""The gr.Blocks of the page, when there is one."""

studio = None
"""The engine behind the page, when there is one; other WebUIs have no such thing."""

latent_upscale_default_mode = "Latent"
latent_upscale_modes = {
    "Latent": {"mode": "bilinear", "antialias": False},
    "Latent (antialiased)": {"mode": "bilinear", "antialias": True},
    "Latent (bicubic)": {"mode": "bicubic", "antialias": False},
    "Latent (bicubic antialiased)": {"mode": "bicubic", "antialias": True},
    "Latent (nearest)": {"mode": "nearest", "antialias": False},
    "Latent (nearest-exact)": {"mode": "nearest-exact", "antialias": False},
}
parallel_processing_allowed = True
tab_names: list[str] = []
settings_components = None
html = upscaler_data.html


class _TotalTqdm:
    """A1111's console progress bar; here only its methods exist."""

    def update(self):
        pass

    def updateTotal(self, new_total):
        pass

    def clear(self):
        pass


total_tqdm = _TotalTqdm()
