"""Experiments: a plan is drawn, measured, analysed and reported.

plan -> cells -> (engines) -> store -> metrics -> stats -> report. Everything after the pictures reads the store alone.
"""
