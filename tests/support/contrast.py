"""How well a text stands out from what is behind it."""

import re


def contrast(first: str, second: str) -> float:
    """WCAG's contrast ratio of two colours such as #abc, #aabbcc or rgb(1, 2, 3)."""
    dark, light = sorted([_luminance(first), _luminance(second)])
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [part / 255 for part in _channels(colour)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _channels(colour: str) -> list[int]:
    if colour.startswith("rgb("):
        return [int(part) for part in re.findall(r"\d+", colour)]
    digits = colour.removeprefix("#")
    digits = digits if len(digits) == 6 else "".join(2 * digit for digit in digits)
    return [int(digits[place : place + 2], 16) for place in (0, 2, 4)]
