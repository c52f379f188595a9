"""A page with the panel and as much of a host as it needs, for any gradio: run in that gradio's own environment.

Prints the page's address. No torch here: the panel must not need it.
"""

import os
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_OFFLINE"] = "1"
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "extras" / "studio" / "webui")]

import gradio as gr  # noqa: E402

warnings.filterwarnings("error", module=r"extras\.nag")  # nothing of ours may be deprecated
from extras.nag.ui.panel import Panel  # noqa: E402
from modules.ui_components import InputAccordion  # noqa: E402


def grid(sampler, scheduler, steps, denoise=None):
    times = [999 * (1 - i / steps) for i in range(steps)]
    return SimpleNamespace(times=times, sigmas=[t / 70 + 0.1 for t in times], exact=sampler != "Adaptive")


def layers():
    def layer(path, i, number, kind):
        name = f"{path}_blocks.{i}.attn{number}"
        return SimpleNamespace(
            name=name, alias="", notation=f"{path[0]}{i}", place=f"{path[0]}{i}.0", kind=kind, heads=8, width=320
        )

    kinds = ((1, "self"), (2, "cross"))
    return [layer(path, i, *kind) for path in ("down", "up") for i in range(3) for kind in kinds]


def count(text, steps, styles):
    return f"<span class='gr-box gr-text-input'>{len(text.split())}/75</span>"


def tab(name, front):
    panel = Panel(front, grid, layers, count)

    def host(component):
        panel.meet(component, component.elem_id, name)
        return component

    host(gr.Dropdown(["Euler", "LCM", "Adaptive"], value="Euler", label="Sampler", elem_id=f"{name}_sampling"))
    host(gr.Dropdown(["Automatic", "SGM Uniform"], value="Automatic", label="Type", elem_id=f"{name}_scheduler"))
    host(gr.Slider(1, 150, value=4, step=1, label="Steps", elem_id=f"{name}_steps"))
    host(gr.Slider(1.0, 30.0, value=7.0, step=0.5, label="CFG", elem_id=f"{name}_cfg_scale"))
    controls = panel.build(name)
    generate = gr.Button("Generate", elem_id=f"{name}_generate")
    host(gr.Gallery(elem_id=f"{name}_gallery"))
    log = gr.HTML("", elem_id=f"html_log_{name}")
    sent = gr.Textbox("", label="What a script gets", elem_id=f"{name}_sent")

    def make(*values):
        front.last = f'<p class="made">A report of {values[1]}</p>'
        return f"<p class='performance'>Time taken: {front.count()}</p>", repr(list(values))

    generate.click(fn=make, inputs=controls, outputs=[log, sent])


class Front:
    last, made = '<p class="nag-time-none">No picture yet.</p>', 0

    def count(self):
        self.made += 1
        return self.made


with gr.Blocks() as demo:
    assert InputAccordion  # the panel finds it as in a WebUI
    for each in ("txt2img", "img2img"):
        with gr.Tab(each):
            tab(each, Front())
print("gradio", gr.__version__, flush=True)
launched = demo.launch(server_name="127.0.0.1", prevent_thread_lock=True, quiet=True, show_error=True)
print("URL", launched[1], flush=True)
demo.block_thread()
