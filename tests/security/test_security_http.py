"""Attacks over HTTP on a real Studio: who is answered, how much is taken, what can be reached."""

from __future__ import annotations

import base64
import io
import json
import socket
import zlib

import pytest
from PIL import Image, PngImagePlugin

from extras.studio import guard

ELSEWHERE = "http://198.51.100.7/picture.png"  # TEST-NET-2: public by its number, and nobody's
ROUTES = (
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/gradio_api/info"),
    ("POST", "/gradio_api/queue/join"),
    ("GET", "/sdapi/v1/sd-models"),
    ("POST", "/sdapi/v1/txt2img"),
    ("POST", "/sdapi/v1/options"),
    ("POST", "/text-to-image"),
    ("GET", "/studio/javascript/studio.js"),
)
FOREIGN = (
    {"host": "attacker.example"},  # DNS rebinding
    {"host": "testserver"},
    {"host": "127.0.0.1.attacker.example"},
    {"host": "127.0.0.1:80@attacker.example"},
    {"host": ""},
    {"origin": "https://attacker.example"},  # a page that is open in another tab
    {"origin": "http://127.0.0.1.attacker.example"},
    {"origin": "http://127.0.0.1:80@attacker.example"},
    {"origin": "http://127.0.0.1:1"},  # another server of this machine
    {"origin": "null"},  # a file, a sandboxed frame
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
    {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "sec-fetch-dest": "empty"},
)


def png(image: Image.Image, **chunks: str) -> str:
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    for key, value in chunks.items():
        info.add_text(key, value)
    image.save(out, format="PNG", pnginfo=info)
    return base64.b64encode(out.getvalue()).decode()


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text)))


def test_only_loopback_is_listened_on(served):
    for address in ("127.0.0.2", socket.gethostbyname(socket.gethostname())):
        if address == "127.0.0.1":
            continue
        with pytest.raises(OSError):
            socket.create_connection((address, served.port), timeout=2).close()


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_pages_and_names_of_elsewhere_are_refused_on_every_route(served, headers):
    for method, path in ROUTES:
        status, body = served.ask(method, path, None if method == "GET" else {}, headers)
        assert (status, body) == (403, b"This server answers only to pages of its own."), (method, path)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "LOCALHOST:{port}", "origin": "http://localhost:{port}"},
        {"origin": "http://127.0.0.1:{port}", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"},  # a link
    ],
    ids=str,
)
def test_own_pages_programs_and_links_are_answered(served, headers):
    assert served.ask("GET", "/", headers={k: v.format(port=served.port) for k, v in headers.items()})[0] == 200


def test_two_hosts_in_a_request_are_refused(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as raw:
        raw.sendall(b"GET /config HTTP/1.1\r\nHost: attacker.example\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        assert raw.recv(100).split()[1] in (b"400", b"403")


def test_a_body_that_is_too_long_is_refused_before_it_is_read(served):
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as raw:
        length = guard.MAX_BODY + 1
        head = f"POST /sdapi/v1/img2img HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n"
        raw.sendall(head.encode())
        assert raw.recv(100).split()[1] == b"413"
    with socket.create_connection(("127.0.0.1", served.port), timeout=5) as raw:
        raw.sendall(b"POST /sdapi/v1/img2img HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{")
        assert raw.recv(100).split()[1] == b"411"


def huge(width: int, height: int) -> str:
    """A PNG whose head says so many pixels, in a few bytes."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, format="PNG")
    data = bytearray(out.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return base64.b64encode(bytes(data)).decode()


@pytest.mark.parametrize("size", [(8001, 8001), (30_000, 30_000)])
def test_a_picture_of_too_many_pixels_is_refused_unread(served, size):
    bomb, small = huge(*size), png(Image.new("RGB", (64, 64)))
    for path, body in (
        ("img2img", {"init_images": [bomb]}),
        ("img2img", {"init_images": [small], "mask": bomb}),
        ("png-info", {"image": bomb}),
    ):
        status, told = served.post(path, **body)
        assert status == 422 and f"at most {guard.MAX_IMAGE_PIXELS} pixels" in told["detail"], told
    body = {"prompt": "a nerd", "image_url": f"data:image/png;base64,{bomb}"}
    assert served.ask("POST", "/image-to-image", body)[0] == 422


def test_many_large_pictures_are_as_one_huge_one(served):
    half = png(Image.new("1", (8000, 5000)))
    status, told = served.post("img2img", init_images=[half, half])
    assert status == 422 and "init_images[1]" in told["detail"] and "all together" in told["detail"]


def test_text_that_unpacks_to_very_much_is_refused(served):
    out, info = io.BytesIO(), PngImagePlugin.PngInfo()
    info.add_text("parameters", "a" * 50_000_000, zip=True)
    Image.new("RGB", (8, 8)).save(out, format="PNG", pnginfo=info)
    assert len(out.getvalue()) < 100_000
    status, _ = served.post("png-info", image=base64.b64encode(out.getvalue()).decode())
    assert status == 422


def event(served, elem_id: str, kind: str) -> tuple[int, dict]:
    """(the event's number, the page) of what a control of the page does."""
    config = json.loads(served.ask("GET", "/config")[1])
    control = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == elem_id)
    return next(d["id"] for d in config["dependencies"] if [control, kind] in [list(t) for t in d["targets"]]), config


def fire(served, number: int, data: list) -> str:
    """What the page's event stream says about one event."""
    join = {"data": data, "fn_index": number, "session_hash": "attack"}
    status, answer = served.ask("POST", "/gradio_api/queue/join", join)
    if status != 200:
        return answer.decode()
    return served.ask("GET", "/gradio_api/queue/data?session_hash=attack")[1].decode()


def file(path: str) -> dict:
    return {"path": path, "url": path, "orig_name": "x.png", "meta": {"_type": "gradio.FileData"}}


def test_addresses_are_never_fetched(served, watched):
    """Not by the API, not by our routes, not by what Gradio brings along."""
    number, _ = event(served, "pnginfo_image", "change")
    with watched() as seen:
        for body in ({"init_images": [ELSEWHERE]}, {"init_images": [png(Image.new("L", (8, 8)))], "mask": ELSEWHERE}):
            status, told = served.post("img2img", **body)
            assert status == 422 and "addresses are not fetched" in told["detail"]
        assert served.post("png-info", image=ELSEWHERE)[0] == 422
        assert served.ask("POST", "/image-to-image", {"prompt": "", "image_url": ELSEWHERE})[0] == 422
        assert served.ask("GET", f"/gradio_api/file={ELSEWHERE}")[0] in (403, 404)
        assert served.ask("GET", f"/gradio_api/proxy={ELSEWHERE}")[0] in (400, 403, 404)
        assert "Steps" not in fire(served, number, [file(ELSEWHERE)])
    assert not [asked for asked in seen.asked if "198.51.100.7" in asked]


def test_a_picture_is_read_from_uploads_only(served, tmp_path):
    """The page's events take a path: it must be one that was uploaded."""
    secret = tmp_path / "secret.png"
    secret.write_bytes(base64.b64decode(png(Image.new("RGB", (8, 8)), parameters="the secret\nSteps: 1, Seed: 1")))
    number, _ = event(served, "pnginfo_image", "change")
    for path in (str(secret), f"{served.outputs}/browser-cache/../../{secret.name}", "/etc/passwd"):
        assert "the secret" not in fire(served, number, [file(path)])
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n'
    sent = part + secret.read_bytes() + b"\r\n--b--\r\n"
    form = {"content-type": "multipart/form-data; boundary=b"}
    (uploaded,) = json.loads(served.ask("POST", "/gradio_api/upload", sent, form)[1])
    assert "the secret" in fire(served, number, [file(uploaded)]), "an upload is read"


@pytest.mark.parametrize("form", ["{}", "//{}", "{outputs}/../../../../../../../..{}", "{outputs}/%2e%2e/%2e%2e{}"])
def test_files_outside_of_the_outputs_are_not_given_out(served, form):
    (served.outputs / "mine.txt").write_text("mine")
    assert served.ask("GET", f"/gradio_api/file={served.outputs}/mine.txt") == (200, b"mine")
    for path in ("/etc/passwd", str(served.models / "alpha.safetensors"), __file__):
        asked = "/gradio_api/file=" + form.format(path, outputs=served.outputs)
        status, body = served.ask("GET", asked)
        assert status in (400, 403, 404) and b"root:" not in body, asked
    for name in ("..%2f..%2fserver.py", "%2fetc%2fpasswd", "../../server.py"):
        assert served.ask("GET", f"/studio/javascript/{name}")[0] == 404


def test_pictures_go_below_the_outputs_whatever_is_asked(served, watched, tmp_path):
    before = served.get("options")["outdir_txt2img_samples"]
    elsewhere = str(tmp_path)
    named = ("outdir_samples", "outdir_grids", "outdir_txt2img_samples", "outdir_txt2img_grids")
    overrides = dict.fromkeys(named, elsewhere) | {"samples_filename_pattern": "../../[prompt]", "save_to_dirs": False}
    with watched() as seen:
        served.post("options", outdir_txt2img_samples=elsewhere)
        for prompt in ("../../../x", "/etc/x", "C:\\x", "a\0b"):
            status, told = served.draw(
                prompt=prompt, save_images=True, batch_size=2, override_settings=overrides, outpath_samples=elsewhere
            )
            assert status == 200, told
    assert served.get("options")["outdir_txt2img_samples"] == before
    assert len([path for path in seen.written if path.endswith(".png")]) >= 8
    assert seen.written_outside(served.outputs) == [] and list(tmp_path.iterdir()) == []


def test_checkpoints_are_those_of_the_list(served, watched, tmp_path):
    """By no field can a file elsewhere be opened, though it is a good one."""
    other = tmp_path / "other.safetensors"
    other.write_bytes((served.models / "alpha.safetensors").read_bytes())
    names = (str(other), f"../{tmp_path.name}/other", "../../../etc/passwd", str(served.models / "tokenizer"))
    loaded = served.get("options")["sd_model_checkpoint"]
    handoff = {"enabled": True, "handoff_steps": 1}
    with watched() as seen:
        for name in names:
            assert served.post("options", sd_model_checkpoint=name)[0] == 422
            served.draw(override_settings={"sd_model_checkpoint": name})
            served.draw(refiner_checkpoint=name, refiner_switch_at=0.5)
            served.draw(enable_hr=True, hr_scale=1, hr_checkpoint_name=name)
            nag = {**handoff, "handoff_checkpoint": name}
            served.draw(steps=2, alwayson_scripts={"NAG Time": {"args": [nag]}})
    assert served.get("options")["sd_model_checkpoint"] == loaded
    assert [path for path in seen.read if path.startswith(str(tmp_path))] == []


def test_loras_are_those_of_the_folder(served, watched, tmp_path):
    (tmp_path / "evil.safetensors").write_bytes(b"not to be opened")
    (served.models / "Lora" / "link.safetensors").symlink_to(tmp_path / "evil.safetensors")
    with watched() as seen:
        for name in (f"../../{tmp_path.name}/evil", str(tmp_path / "evil"), "../alpha", "link"):
            status, told = served.draw(prompt=f"a nerd <lora:{name}:1>")
            assert status == 200 and "was not found" in json.loads(told["info"])["comments"][0]
    assert [path for path in seen.read if "evil" in path or path.endswith("link.safetensors")] == []


def test_words_of_a_request_are_never_a_command(served, watched):
    nasty = "$(touch /tmp/x); `id` && __import__('os').system('id') {{7*7}} %(x)s {0.__class__}"
    with watched() as seen:
        status, told = served.draw(
            prompt=nasty, negative_prompt=nasty, styles=[nasty],
            alwayson_scripts={"NAG Time": {"args": [{"enabled": True, "negative": nasty}]}},
        )  # fmt: skip
    assert status == 200 and seen.run == []
    assert picture(told["images"][0]).info["parameters"].startswith(nasty)
