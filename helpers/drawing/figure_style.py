"""The look that every figure shares: a few colours with fixed meanings, one font, type sizes.

Must not learn what a figure shows.
"""

INK = "#22313f"  # text, and what is counted
MUTED = "#7b8794"  # axes, notes
FAINT = "#e4e8ec"  # grids, cells untouched
BLUE = "#a9cdee"  # a block; rivals
DEEP_BLUE = "#2f6fab"  # text about what BLUE marks
ORANGE = "#f0862b"  # a thread; what the title claims
GREEN = "#6fb39c"  # a third of its kind, beside blue and orange
DEEP_ORANGE = "#c25e08"  # text about what ORANGE marks

STYLE = {
    "figure.facecolor": "white",
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
    "xtick.labelsize": 8.8,
    "ytick.labelsize": 8.8,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
