"""Run by a WebUI at start-up. Nothing to install: the extension needs only what a WebUI has."""
