"""The pictures of README.md and docs/, each made by one module: `python nagtime.py pictures`."""
