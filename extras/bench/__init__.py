"""What guidance costs: `python nagtime.py bench`.

Full-size models in the published shapes with random weights (nothing is downloaded), every way of guiding them taken in
turn in one run, and the ratio to the plain step of the same round: what else the machine does meanwhile distorts all
alike.
"""
