"""How different two colours look, also to people who see fewer of them.

Sight without one kind of cone by the matrices of Machado, Oliveira and Fernandes (2009), severity 1; distances are
CIE76 in CIELAB, in which about 2 can just be told apart side by side.
"""

from itertools import combinations

Vector = tuple[float, ...]

SIGHTS = {
    "trichromat": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanope": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranope": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanope": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
_XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
_WHITE = (0.9505, 1.0, 1.0890)


def least_distance(colours: list[str], sight: str) -> float:
    """Between those two of #rrggbb that are hardest to tell apart."""
    seen = [_lab(_times(SIGHTS[sight], _linear(colour))) for colour in colours]
    return min(
        sum((one - other) ** 2 for one, other in zip(*pair, strict=True)) ** 0.5 for pair in combinations(seen, 2)
    )


def _linear(colour: str) -> Vector:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return tuple(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)


def _times(matrix: tuple[Vector, ...], vector: Vector) -> Vector:
    products = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return tuple(min(1.0, max(0.0, product)) for product in products)


def _lab(rgb: Vector) -> Vector:
    x, y, z = (_curve(part / white) for part, white in zip(_times(_XYZ, rgb), _WHITE, strict=True))
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def _curve(part: float) -> float:
    return float(part ** (1 / 3)) if part > 0.008856 else 7.787 * part + 16 / 116
