"""Markers of forms: a line's colour says its system, its marker which form of it; the same ones in every chart.

Knows the names of systems and forms; must not learn what an axis stands for.
"""

# a marker of matplotlib, and the character that looks like it: it stands before the line's name
MARKERS = {
    **{"o": "\u25cf", "s": "\u25a0", "^": "\u25b2", "D": "\u25c6", "v": "\u25bc", "P": "\u271a", "X": "\u2716"},
    **{"*": "\u2605", "<": "\u25c0", ">": "\u25b6"},
}
# fixed places, so that a form keeps its marker where others of its system are not drawn
FORMS = {
    "pytorch": (
        *("eager", "epoch graph", "compile + epoch graph", "compile"),
        *("epoch graph, channels last", "compile + epoch graph, channels last"),
    ),
    "jax": ("jit", "scan", "scan, command buffers"),
    "keras": (
        *("fit, backend jax", "fit, best settings, backend jax", "fit, backend torch"),
        *("fit, backend tensorflow", "fit, best settings, backend tensorflow", "fit, best settings, backend torch"),
    ),
    "tensorflow": ("eager", "epoch function", "function", "XLA"),
}


def form_markers(keys):
    """The marker of each form: that of its place in FORMS, for any other the next one that its system has free.

    Parameters
    ----------
    keys : iterable of (system, form)

    Returns
    -------
    dict of (system, form) to str
        Keys of MARKERS; different ones for the first ten forms of a system.
    """
    markers, forms = {}, {system: list(known) for system, known in FORMS.items()}
    for system, form in keys:
        known = forms.setdefault(system, [])
        if form not in known:
            known.append(form)
        markers[system, form] = list(MARKERS)[known.index(form) % len(MARKERS)]
    return markers
