"""The papers' names, each one line over `VarianceScaling`."""

from fanin.initializers._fans import Fan, Gain, VarianceScaling

__all__ = [
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "xavier_normal",
    "xavier_uniform",
]


def kaiming_normal(gain: Gain = "relu", *, fan: Fan = "in") -> VarianceScaling:
    """w ~ N(0, gain² / fan_in).

    He et al. 2015, "Delving deep into rectifiers", eq. 10 (fan_in) and 14 (fan_out). Also called
    He's. For a ReLU gain² = 2; any activation may be named.

    >>> print(kaiming_normal())
    w ~ N(0, s²), s = gain(relu) / sqrt(fan_in)
    """
    return VarianceScaling(gain, fan=fan)


def kaiming_uniform(gain: Gain = "relu", *, fan: Fan = "in") -> VarianceScaling:
    """w ~ U(-b, b), b = gain sqrt(3 / fan_in).

    He et al. 2015, eq. 10 and 14, drawn uniformly. torch's layers start from
    ``kaiming_uniform_(a=sqrt(5))``, whose gain is 1 / sqrt(3): a sixth of this variance.

    >>> import torch, fanin
    >>> round(kaiming_uniform().bound(fanin.layout(torch.nn.Linear(600, 10))), 9)
    0.1
    """
    return VarianceScaling(gain, fan=fan, distribution="uniform")


def xavier_normal(gain: Gain = 1.0) -> VarianceScaling:
    """w ~ N(0, 2 gain² / (fan_in + fan_out)).

    Glorot & Bengio 2010, "Understanding the difficulty of training deep feedforward neural
    networks", eq. 12. Also called Glorot's.

    >>> print(xavier_normal())
    w ~ N(0, s²), s = sqrt(2 / (fan_in + fan_out))
    """
    return VarianceScaling(gain, fan="avg")


def xavier_uniform(gain: Gain = 1.0) -> VarianceScaling:
    """w ~ U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)).

    Glorot & Bengio 2010, eq. 16.

    >>> import torch, fanin
    >>> round(xavier_uniform().bound(fanin.layout(torch.nn.Linear(500, 100))), 9)
    0.1
    """
    return VarianceScaling(gain, fan="avg", distribution="uniform")


def lecun_normal(gain: Gain = 1.0) -> VarianceScaling:
    """w ~ N(0, gain² / fan_in).

    LeCun et al. 1998, "Efficient BackProp", section 4.6. With gain 1 it suits SELU and linear
    layers.

    >>> print(lecun_normal())
    w ~ N(0, s²), s = 1 / sqrt(fan_in)
    """
    return VarianceScaling(gain)


def lecun_uniform(gain: Gain = 1.0) -> VarianceScaling:
    """w ~ U(-b, b), b = gain sqrt(3 / fan_in).

    LeCun et al. 1998, section 4.6, drawn uniformly.

    >>> print(lecun_uniform())
    w ~ U(-b, b), b = sqrt(3 / fan_in)
    """
    return VarianceScaling(gain, distribution="uniform")
