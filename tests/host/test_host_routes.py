"""The routes for clients that know no WebUI: POST /nag-time/text-to-image and /nag-time/image-to-image."""

import pytest
from host_client import Refused


@pytest.mark.capability("routes of its own: /nag-time/text-to-image and /image-to-image")
def test_routes(host):
    fields = {"prompt": "a nerd", "width": 64, "height": 64, "num_inference_steps": 4, "guidance_scale": 1, "seed": 7}
    plain = host.post("/nag-time/text-to-image", {**fields, "enable_nag_pag": False})
    guided = host.post("/nag-time/text-to-image", fields)
    assert plain["has_nag_pag"] is False and guided["has_nag_pag"] is True and guided["nag_pag"]["calls"] > 0
    assert plain["image"] != guided["image"]
    again = host.post("/nag-time/image-to-image", {**fields, "image_url": plain["image"], "strength": 0.9})
    assert again["has_nag_pag"] is True
    for bad in ({"num_inference_steps": 0}, {"nag_pag_scale": 11}, {"nag_pag_applied_layers": ["d99"]}):
        with pytest.raises(Refused) as refused:
            host.post("/nag-time/text-to-image", {**fields, **bad})
        assert refused.value.status == 422 and next(iter(bad)) in refused.value.body
    assert host.restored()
