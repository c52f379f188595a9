"""The part of A1111 v1.10's ``modules`` package that an extension like ours touches.

Written from the behaviour of that version, not from its text. What it promises is in docs/STUDIO.md.
"""
