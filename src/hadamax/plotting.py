"""Colours and markers of all figures: Okabe and Ito's palette, suitable for colour-blind readers.

Yellow is left out, since it is invisible on white.
"""

BLUE, VERMILLION, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY_BLUE, BLACK, GREY = "#e69f00", "#56b4e9", "#000000", "#555555"
COLOURS = (BLUE, VERMILLION, GREEN, PINK, ORANGE, SKY_BLUE, BLACK)
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
