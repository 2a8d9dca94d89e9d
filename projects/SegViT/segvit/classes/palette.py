"""Default class colours: `distinct_colors`, made to be told apart, and `voc_colors`, the colour map of PASCAL VOC."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, islice

Color = tuple[int, int, int]

# 256 RGB colours, six digits each, chosen by scripts/make_palette.py: every colour is far from all before it, also for
# colour-blind viewers, and none is nearly black, white or grey.
CHOSEN = (
    "0072b200e100ff69ffff00005a00789600ff87c3c3004b000000d2f0f02da5003cff968700962dd200a5b4a5003cffc3a578d2e1b4ff"
    "0f4b694ba5ffc3785affd296ff5a9600a5a5873c875a3cd2691e3c96f0ff4bc369874b00b4d269d23cf05a78ff2d2d9600695ab45a87"
    "e187d2ffb4008700b4e10f6969781e8796784b4b2dff00d2e1d2e1c3a5a57887b4a54bb478f069871e003cd2ff00e1c35a3c96b4ff96"
    "e1964b96a5e1870069d2c3a53c0ff0b487a5f0693c874be1a5b487964b4b4b5a96a5e1b41e3cc35a4b5a96694b6969c3785a87b40078"
    "a5780f3c5ac3b4c3e14b2d5a69964bc3e10fd2f0e1b4965ae16978f02d96d25ac3783c3c0096c3f0d25a00c3a5d269f087a5b478d24b"
    "4b78964b00b4c387f0ffb487a51ea5871e4b7800873c3c788769e178d296b45a0f690fa5c3a5f03c6978694bb40f5a8700782db43c5a"
    "c31ed24ba52df0a5b487b43c3c78d2781ee1b42d1e692d1e69fff00f8787963c6900f096a53cf02db4c35a876978693cff78e169b478"
    "b4ff5a8787e1ff5ac3b45ad2c3f0b49678a5c3d2ff695a1ea59696692d69ffa5f0878787ffe1c32d4b4b875aa5c32d78d287003c3c2d"
    "4b694b00d2d21e9678a5d2d25a96962df0e12dc3e11ea5e1003c875aa587c3c378d2b4d24b4b784b1ed2b45a5ad296c3d20f3c1e785a"
    "a58769c36978d2e178e18787962dc3876996001eff96f0a596c35a5a3c00c3e1f02d0fc300b45affa55a4b3cb4c3878769b4d2003ca5"
    "78785ae1967869b4ffb45affc3b42d4b5a2d3cf04b0f4b96b4694bc369b40f873cff78692d0fa5d25a3cd25a87a5005a00ff87e1c3c3"
    "ffe18769e187ffc3b4ff0fb400693ce1c3f0d278d2695ad23cd28796f0d2a5d2006978a5a578ffe1e1a5690069874bff0069e1e12dc3"
    "78871e96a569784b9687e1d2f087b41e3cf00096e1f04be1872d6987ff784b87e1e187f09696c396c3a57878874b7878005a4b87001e"
    "2d87b47878d2d2f06987c3f05a3c2d96690f7800c3e1a5e1d24ba5783cf0e13c69a5963cb4f00000e1f000c34b87ffd278c396875a2d"
    "1ed2b41e1ee1f0e1f0694b00"
)


def distinct_colors(num_colors: int) -> list[Color]:
    """Different RGB colours that people with and without colour blindness can tell apart; none is black.

    After the 256 chosen ones follow those of `voc_colors`, which differ less.
    """
    chosen = [_parse(CHOSEN[index : index + 6]) for index in range(0, len(CHOSEN), 6)]
    more = (color for color in map(_voc_color, count(1)) if color not in chosen)
    return [*chosen[:num_colors], *islice(more, max(num_colors - len(chosen), 0))]


def colors_beside(given: Sequence[Color], num_colors: int) -> list[Color]:
    """Colours of `distinct_colors`, each as far in RGB from the given ones and those before it as there is one.

    Without given colours, the first of them.
    """
    if not given:
        return distinct_colors(num_colors)
    candidates = distinct_colors(2 * (len(given) + num_colors))
    distances = {color: min(math.dist(color, other) for other in given) for color in candidates}
    colors: list[Color] = []
    for _ in range(num_colors):
        farthest = max(distances, key=lambda color: distances[color])
        colors.append(farthest)
        distances = {color: min(far, math.dist(color, farthest)) for color, far in distances.items()}
    return colors


def voc_colors(num_colors: int) -> list[Color]:
    """The RGB colours of ids 0 to `num_colors` - 1 in the PASCAL VOC development kit; id 0 is black.

    The bits of the id, from the lowest, set in turn the highest bits of red, green and blue, then the next lower ones.
    """
    return [_voc_color(index) for index in range(num_colors)]


def _parse(digits: str) -> Color:
    red, green, blue = bytes.fromhex(digits)
    return red, green, blue


def _voc_color(index: int) -> Color:
    channels = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
    return channels[0], channels[1], channels[2]
