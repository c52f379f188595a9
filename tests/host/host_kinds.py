"""Which host answers, and how it may differ from the others. Whatever is not in DIFFERENCES must be alike."""

from __future__ import annotations

import os
import re

from host_client import GLASSES, Client, Drawn

_KINDS = (  # what the host calls its version -> its name
    (r"nag-time-studio", "Studio"),
    (r"f2\.", "Forge"),
    (r"f1\.|f0\.", "reForge"),
    (r"classic", "Forge Classic"),
    (r"v?1\.", "AUTOMATIC1111"),
)
_RF = "the Comfy RF samplers, for flow models, draw black without NAG Time as well"
DIFFERENCES: dict[tuple[str, str], str] = {
    ("Forge", "skip_uncond"): "Forge leaves the unused half out by itself",
    ("reForge", "skip_uncond"): "reForge leaves the unused half out by itself",
    ("Forge Classic", "skip_uncond"): "Forge Classic leaves the unused half out by itself",
    ("reForge", "Euler A Comfy RF"): _RF,
    ("reForge", "DPM++ 2S Ancestral Comfy RF"): _RF,
}
"""(host, what): why it is so. Tests ask for ``what`` by host.differs()."""


class Host(Client):
    """A client that knows its host. ``plain``: the first picture, which every later plain one must equal.

    ``others``: checkpoints beside the loaded one, for refiner and hires checkpoint; NAG_HOST_OTHERS names them.
    """

    def __init__(self, url: str, others: list[str] | None = None):
        super().__init__(url)
        self.plain: Drawn = self.draw()
        self.version = str(self.plain.info.get("version", "?"))
        known = (name for pattern, name in _KINDS if re.match(pattern, self.version))
        self.name = os.environ.get("NAG_HOST_NAME") or next(known, "unknown")
        self.model = self.plain.info["sd_model_name"]
        named = os.environ.get("NAG_HOST_OTHERS")
        self.others = named.split(",") if named else (others or [])
        self.scripts = {tab: set(names) for tab, names in self.api("scripts").items()}
        self.options = set(self.api("options"))
        self.samplers = [s["name"] for s in self.api("samplers")]
        self.injects = self.has("/nag-faults")

    def draw(self, nag=None, **fields) -> Drawn:
        """As Client's. Before img2img, a picture that leaves torch's generator where it always does: hosts sample
        the encoded picture from it before they seed it."""
        if "init_images" in fields:
            super().draw(steps=1)
        return super().draw(nag, **fields)

    def differs(self, what: str) -> str:
        """Why this host is allowed to differ in ``what``; "" where it is not."""
        return DIFFERENCES.get((self.name, what), "")

    def restored(self) -> bool:
        """The plain picture is as it was at first."""
        return self.draw().same(self.plain)

    def pair(self, nag=GLASSES, **fields) -> tuple[Drawn, Drawn]:
        """(unguided, guided) picture of the same fields."""
        return self.draw(**fields), self.draw(nag, **fields)

    def script_values(self, name: str, is_img2img: bool = False) -> tuple[list[str], list]:
        """(labels, values at first) of a script's controls."""
        infos = self.api("script-info")
        found = next(i for i in infos if i["name"] == name and bool(i["is_img2img"]) == is_img2img)
        return [a["label"] for a in found["args"]], [a["value"] for a in found["args"]]

    def script_choices(self, name: str, label: str) -> list[str]:
        """What a dropdown of a script offers."""
        info = next(i for i in self.api("script-info") if i["name"] == name and not i["is_img2img"])
        return next(a["choices"] for a in info["args"] if a["label"] == label)
