"""Command-line flags that extensions look at. The Studio sets them itself; there is no parser to extend."""

from __future__ import annotations

import argparse

parser = argparse.ArgumentParser(add_help=False)
for _flag, _default in {
    "api": True,
    "nowebui": False,
    "listen": False,
    "share": False,
    "disable_safe_unpickle": False,
    "medvram": False,
    "lowvram": False,
    "no_half": True,
    "no_half_vae": True,
    "xformers": False,
    "no_prompt_history": True,
    "hide_ui_dir_config": True,
    "disable_extension_access": True,
    "freeze_settings": False,
    "gradio_debug": False,
    "api_auth": "",
    "ckpt": "",
    "data_dir": "",
    "embeddings_dir": "",
    "lora_dir": "",
    "styles_file": "",
    "port": 0,
    "server_name": "127.0.0.1",
    "opt_sdp_attention": False,
    "precision": "full",
    "use_cpu": "",
    "device_id": "",
}.items():
    parser.add_argument("--" + _flag.replace("_", "-"), default=_default)

cmd_opts = parser.parse_args([])
