"""The tour: what starting weights do, measured here and now on real digits.

``data`` and ``nets`` are what it looks at; ``first_layer`` and ``signal`` measure before training;
``training`` trains many nets at once, ``rates`` chooses their learning rates, ``scores`` compares;
``story`` and ``pictures`` show the ``results``, which are all the numbers there are.
"""

from fanin._tour.main import tour

__all__ = ["tour"]
