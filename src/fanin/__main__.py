"""``python -m fanin`` shows the short tour."""

import sys

from fanin._cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main(["tour", "--fast"] if len(sys.argv) == 1 else None))
