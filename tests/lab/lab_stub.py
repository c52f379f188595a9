"""A WebUI as far as the engine sees one."""

from __future__ import annotations

import base64
import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image


class Stub:
    """A WebUI as far as the engine sees one. ``dies_after``: requests, then the connection breaks."""

    def __init__(
        self, dies_after: int | None = None, script: str = "nag time", error: str = "", steps: str = "", auth: str = ""
    ):
        self.dies_after, self.script, self.error, self.steps = dies_after, script, error, steps
        self.auth = auth and "Basic " + base64.b64encode(auth.encode()).decode()
        self.asked, self.checkpoint, self.chosen = 0, "mine.safetensors", []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                if stub.auth and self.headers["Authorization"] != stub.auth:
                    return self.answer({"detail": "Incorrect username or password"}, 401)
                self.answer(
                    {
                        "scripts": {"txt2img": [stub.script]},
                        "options": {"sd_model_checkpoint": stub.checkpoint},
                        "sd-models": [
                            {"title": "some-model.safetensors [abc]", "model_name": "some-model", "hash": "abc"}
                        ],
                    }[self.path.rsplit("/", 1)[-1]]
                )

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path.endswith("options"):
                    stub.chosen.append(body["sd_model_checkpoint"])
                    return self.answer(None)
                stub.asked += bool(body["alwayson_scripts"])
                if stub.dies_after is not None and stub.asked > stub.dies_after:
                    return self.connection.close()
                if stub.error:
                    return self.answer({"detail": stub.error}, 422)
                return self.answer(stub.draw(body))

            def answer(self, value, status=200):
                data = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def draw(self, body):
        nag = (body["alwayson_scripts"].get("NAG Time") or {"args": [{}]})["args"][0]
        steps = "" if not nag.get("enabled") else self.steps or ("2-3" if nag["start"] > 0 else "1-4")
        texts, images = [], []
        for index in range(body["batch_size"]):
            seed = body["seed"] + index
            color = np.random.default_rng([seed, len(steps), int(nag.get("scale", 0))]).integers(0, 255, 3).tolist()
            out = io.BytesIO()
            Image.new("RGB", (64, 64), tuple(color)).save(out, format="PNG")
            images.append(base64.b64encode(out.getvalue()).decode())
            said = f", NAG guided steps: {steps} of 4" if steps else ""
            texts.append(f"{body['prompt']}\nSteps: 4, Seed: {seed}{said}, Version: stub")
        return {"images": images, "info": json.dumps({"infotexts": texts})}

    def close(self):
        self.server.shutdown()
        self.server.server_close()
