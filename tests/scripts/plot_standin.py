"""The contract of the hosts' X/Y/Z script, as far as an axis sees it: choices, prepare, type, ranges, confirm; then
each cell a shallow copy of one job, so that cells share its metadata."""

import csv
import re
from copy import copy

import numpy as np

from modules import scripts
from modules.processing import Processed, create_infotext, process_images


def label_of(p, opt, x):
    return f"{opt.label}: {x}"


class AxisOption:
    def __init__(self, label, type, apply, format_value=label_of, confirm=None, cost=0.0, choices=None, prepare=None):
        self.label, self.type, self.apply, self.format_value = label, type, apply, format_value
        self.confirm, self.cost, self.choices, self.prepare = confirm, cost, choices, prepare


axis_options = [AxisOption("Nothing", str, lambda p, x, xs: None), AxisOption("Seed", int, lambda p, x, xs: None)]
_RANGE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*-\s*(\d+(?:\.\d*)?)(?:\s*\(\+(\d+(?:\.\d*)?)\s*\))?\s*")


class Plot(scripts.Script):
    """``axes``: (label, values as text) pairs. ``cells``: the Processed of each, ``grid``: its metadata."""

    axes = ()

    def title(self):
        return "X/Y/Z plot"

    def run(self, p):
        chosen = []
        for label, text in self.axes:
            option = next(o for o in axis_options if o.label == label)
            chosen.append((option, self.values(p, option, text)))
        self.cells, self.grid = [], None
        (one, xs), (other, ys) = (*chosen, (axis_options[0], [0]))[:2]
        for y in ys:
            for x in xs:
                pc = copy(p)
                one.apply(pc, x, xs)
                other.apply(pc, y, ys)
                self.cells.append(process_images(pc))
                self.grid = self.grid or create_infotext(pc, pc.all_prompts, pc.all_seeds, pc.all_subseeds)
        return Processed(p, [cell.images[0] for cell in self.cells], infotexts=[c.infotexts[0] for c in self.cells])

    @staticmethod
    def values(p, option, text):
        split = option.prepare or (lambda t: [v.strip() for v in next(csv.reader([t], skipinitialspace=True))])
        found = []
        for value in split(text):
            span = _RANGE.fullmatch(value) if option.type in (int, float) else None
            if span:
                first, last, step = float(span[1]), float(span[2]), float(span[3] or 1)
                found += np.arange(first, last + step / 2, step).tolist()
            else:
                found.append(value)
        found = [option.type(value) for value in found]
        if option.confirm:
            option.confirm(p, found)
        return found
