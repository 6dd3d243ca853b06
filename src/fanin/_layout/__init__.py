"""Which axes of a weight are output, input, kernel: the one owner of axis order.

`_axes` holds the value and its fans, `_modules` reads it off a torch layer, `_taps` counts
what padding and stride take away. No other module of fanin may index a weight's shape.
"""

from fanin._layout._axes import Layout, Part
from fanin._layout._block import Block
from fanin._layout._fans import Fans, fans
from fanin._layout._modules import layout

__all__ = ["Block", "Fans", "Layout", "Part", "fans", "layout"]
