"""One colour and one line per role, through every lesson."""

COLORS = {  # Okabe and Ito's colours: told apart by colour-blind readers, and of different lightness in greyscale
    "data": "#0072B2",
    "noised": "#E69F00",
    "prior": "#7F7F7F",
    "model": "#D55E00",
    "posterior": "#009E73",
}
LINES = {  # told apart without colour, too; the prior is a broad band that others are drawn over
    "data": {"linestyle": "-"},
    "noised": {"linestyle": "-"},
    "prior": {"linestyle": "-", "linewidth": 6, "alpha": 0.4},
    "model": {"linestyle": "-."},
    "posterior": {"linestyle": ":"},
}
SCHEDULES = {  # wherever schedules are compared
    "constant": {"color": "0.55", "linestyle": "-"},
    "linear": {"color": COLORS["noised"], "linestyle": "--"},
    "quadratic": {"color": COLORS["model"], "linestyle": "-."},
    "cosine": {"color": COLORS["data"], "linestyle": "-"},
    "learned": {"color": COLORS["posterior"], "linestyle": ":"},
}
