"""Models, data and starts that a second is enough for; at the top of a module, for workers."""

import torch
from torch import nn

import fanin


def mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))


def dropping():
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3))


def examples(n=256, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 6, generator=generator)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def batches(seed):
    """Data as a function, with inputs by name."""

    def batch(step):
        x, y = examples(16, 1000 * seed + step)
        return {"input": x}, y

    return batch


def small(site):
    """W ~ N(0, 0.1²), b = 0."""
    from fanin.initializers import Normal, Zeros

    return Zeros if site.role == "bias" else Normal(0.1)


def zero(site):
    """Everything is 0: nothing is learned but biases."""
    return fanin.initializers.Zeros


STARTS = {"own": None, "steady": fanin.recipes.steady}
QUICK = {
    "steps": 40,
    "rates": (0.01, 0.1),
    "tuning_seeds": 2,
    "scoring_seeds": 3,
    "optimizer": "adam",
}


def compared(make_model=mlp, recipes=STARTS, data=None, **changes):
    """A comparison that takes about a second."""
    data = examples() if data is None else data
    return fanin.compare(make_model, recipes, data, **(QUICK | changes))
