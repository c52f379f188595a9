"""The Studio: a small WebUI of our own that loads ``scripts/`` through the same contract as A1111 v1.10.

Rooms, in the order the data walks through them: ``checkpoints`` (a file becomes a model), ``samplers``
(the model becomes a picture), ``webui/modules`` (the contract an extension imports), ``engine`` (one
object that owns them), ``api`` (the HTTP face) and the page.
"""
