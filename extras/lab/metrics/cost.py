"""What an arm costs: seconds a picture and peak memory, from the pictures' own records."""

from __future__ import annotations

import numpy as np
import pandas as pd

COLUMNS = ("model", "arm", "n", "median_s", "low_s", "high_s", "over_untreated", "memory_mb")
WARM_UP = 1  # first pictures of a model and arm that do not count


def cost(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a (model, arm): n pictures timed, median and middle 90 % of the seconds, median over the untreated
    pictures' median, highest memory (NaN where the engine has none to tell). A picture two arms share counts in both.
    """
    made = []
    for (model, arm), rows in frame.groupby(["model", "arm"], sort=False):
        seconds = rows["seconds"].dropna().to_numpy(dtype=float)
        seconds = seconds[WARM_UP:] if len(seconds) > 3 * WARM_UP else seconds
        memory = rows["memory_mb"].dropna()
        low, median, high = np.quantile(seconds, [0.05, 0.5, 0.95]) if len(seconds) else (np.nan,) * 3
        made.append((model, arm, len(seconds), median, low, high, np.nan, memory.max() if len(memory) else np.nan))
    table = pd.DataFrame(made, columns=list(COLUMNS))
    plain = table[table["arm"] == "untreated"].set_index("model")["median_s"]
    table["over_untreated"] = table["median_s"] / table["model"].map(plain)
    return table
