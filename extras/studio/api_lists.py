"""The routes that list what there is."""

from __future__ import annotations

import os

from fastapi import FastAPI


def _yaml_of(filename: str) -> str | None:
    path = os.path.splitext(filename)[0] + ".yaml"
    return path if os.path.isfile(path) else None


def add_list_routes(app: FastAPI, engine) -> None:
    import networks

    from modules import extensions, sd_models, sd_samplers, sd_schedulers, shared

    def get(path: str):
        return app.get(f"/sdapi/v1/{path}")

    @get("samplers")
    def samplers():
        return [
            {"name": s.name, "aliases": s.aliases, "options": {k: str(v) for k, v in s.options.items()}}
            for s in sd_samplers.all_samplers
        ]

    @get("schedulers")
    def schedulers():
        return [
            {
                "name": s.name,
                "label": s.label,
                "aliases": s.aliases,
                "default_rho": s.default_rho,
                "need_inner_model": s.need_inner_model,
            }
            for s in sd_schedulers.schedulers
        ]

    @get("sd-models")
    def models():
        return [
            {
                "title": c.title,
                "model_name": c.model_name,
                "hash": c.shorthash,
                "sha256": c.sha256,
                "filename": c.filename,
                "config": _yaml_of(c.filename),
            }
            for c in sd_models.checkpoints_list.values()
        ]

    @get("loras")
    def loras():
        return [{"name": name, "alias": name, "path": str(path)} for name, path in networks.available().items()]

    @get("upscalers")
    def upscalers():
        return [
            {"name": u.name, "model_name": None, "model_path": None, "model_url": None, "scale": u.scale}
            for u in shared.sd_upscalers
        ]

    @get("latent-upscale-modes")
    def latent_upscale_modes():
        return [{"name": name} for name in shared.latent_upscale_modes]

    @get("prompt-styles")
    def prompt_styles():
        return [
            {"name": s.name, "prompt": s.prompt, "negative_prompt": s.negative_prompt}
            for s in shared.prompt_styles.styles.values()
        ]

    @get("scripts")
    def scripts():
        return {
            tab: [s.name for s in engine.runner(tab).scripts if s.name is not None] for tab in ("txt2img", "img2img")
        }

    @get("script-info")
    def script_info():
        infos = [
            s.api_info for tab in ("txt2img", "img2img") for s in engine.runner(tab).scripts if s.api_info is not None
        ]
        return [info.model_dump() if hasattr(info, "model_dump") else info.dict() for info in infos]

    @get("extensions")
    def list_extensions():
        return [
            {
                "name": e.name,
                "remote": "",
                "branch": "",
                "commit_hash": "",
                "version": "",
                "commit_date": "",
                "enabled": e.enabled,
            }
            for e in extensions.extensions
        ]

    @get("embeddings")
    def embeddings():
        return {"loaded": {}, "skipped": {}}

    for name in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "loras"):
        app.add_api_route(f"/sdapi/v1/{name}", lambda: [], methods=["GET"], name=name)

    @app.post("/sdapi/v1/refresh-checkpoints")
    def refresh_checkpoints():
        sd_models.list_models()

    for name in ("refresh-embeddings", "refresh-vae", "refresh-loras"):
        app.add_api_route(f"/sdapi/v1/{name}", lambda: None, methods=["POST"], name=name)

    @get("memory")
    def memory():
        return {"ram": _ram(), "cuda": _cuda()}


def _ram() -> dict:
    try:
        import psutil

        used, whole = psutil.Process().memory_info().rss, psutil.virtual_memory().total
        return {"free": whole - used, "used": used, "total": whole}
    except Exception as error:
        return {"error": str(error)}


def _cuda() -> dict:
    import torch

    if not torch.cuda.is_available():
        return {"error": "unavailable"}
    free, total = torch.cuda.mem_get_info()
    return {"system": {"free": free, "used": total - free, "total": total}}
