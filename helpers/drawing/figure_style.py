"""The look that every figure shares: a few colours with fixed meanings, type sizes, and a blank figure.

Must not learn what a figure shows.
"""

import matplotlib.pyplot as plt

INK = "#22313f"  # text, and what is counted
MUTED = "#7b8794"  # axes, notes
FAINT = "#e4e8ec"  # grids, cells untouched
BLUE = "#a9cdee"  # a block; rivals
DEEP_BLUE = "#2f6fab"  # text about what BLUE marks
ORANGE = "#f0862b"  # a thread; what the title claims
DEEP_ORANGE = "#c25e08"  # text about what ORANGE marks

STYLE = {
    "figure.facecolor": "white",
    "figure.dpi": 110,
    "savefig.dpi": 110,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def blank_figure(width, height, title, alt):
    """Empty matplotlib Figure in the shared style.

    Parameters
    ----------
    width, height : float
        Inches; a notebook shows about 7.5 in a row.
    title : str
        The one claim that the figure makes.
    alt : str
        What a reader who cannot see it needs; kept as the figure's attribute `alt`.

    Returns
    -------
    Figure
        Closed for pyplot, so that a notebook shows it once.
    """
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(width, height))
        figure.text(0.1 / width, 1 - 0.08 / height, title, ha="left", va="top", fontsize=11, weight="bold")
    plt.close(figure)
    figure.alt = alt
    return figure
