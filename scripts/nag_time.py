"""NAG Time's front door in a WebUI: wiring only. What it wires lives in extras/nag."""

# Everything is imported here: the extension's root is on sys.path only while this file is loaded.
from extras.lab.tab import lab_tab
from extras.nag.hosts.webui.families import host_here
from extras.nag.ui.axes import add_axes
from extras.nag.ui.front import FrontDoor
from extras.nag.ui.http_api import add_routes
from extras.nag.ui.options import add_options, panel_defaults
from extras.nag.ui.panel import Panel
from modules import script_callbacks, scripts

host = host_here()


class NagTimeScript(scripts.Script):
    def __init__(self):
        self.front = FrontDoor(host)
        self.panel = Panel(self.front, host.preview_grid, host.loaded_layers, host.count_tokens, panel_defaults)

    def title(self):
        return "NAG Time"

    def show(self, is_img2img):
        return scripts.AlwaysVisible

    def after_component(self, component, **kwargs):
        tab = "img2img" if getattr(self, "is_img2img", False) else "txt2img"  # SD.Next gives a script no tabname
        self.panel.meet(component, kwargs.get("elem_id"), getattr(self, "tabname", None) or tab)

    def ui(self, is_img2img):
        controls = self.panel.build("img2img" if is_img2img else "txt2img")
        self.infotext_fields, self.paste_field_names = self.panel.paste_fields()
        return controls

    def before_process(self, p, *args):
        self.front.before(p, args)

    def process(self, p, *args):
        self.front.process(p, args)

    def before_process_batch(self, p, *args, **kwargs):
        self.front.before_batch(p)

    def process_before_every_sampling(self, p, *args, **kwargs):
        self.front.before_sampling(p)

    def postprocess_batch(self, p, *args, **kwargs):
        self.front.batch_done(p)

    def postprocess_image(self, p, pp, *args):
        self.front.picture(p, pp.image)

    def postprocess(self, p, processed, *args):
        self.front.done(p, processed)


host.wire(script_callbacks)
script_callbacks.on_before_ui(add_axes)
script_callbacks.on_ui_settings(add_options)
script_callbacks.on_ui_tabs(lab_tab)
script_callbacks.on_app_started(lambda demo, app: add_routes(app, host.loaded_layers))
