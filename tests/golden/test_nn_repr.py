"""What a model of fanin.nn layers prints, as it stands."""

import torch

from fanin import nn
from fanin.initializers import ForgetGate, Orthogonal, kaiming_normal

PRINTED = """\
Sequential(
  (0): LazyConv2d(0, 16, kernel_size=(3, 3), stride=(1, 1), bias=False, \
weight_initializer=VarianceScaling('relu'))
  (1): LayerNorm((16,), eps=1e-05, elementwise_affine=True, bias=True, weight_initializer=Zeros)
  (2): LSTM(16, 8, weight_hh_initializer=Orthogonal(), bias_ih_initializer=ForgetGate())
  (3): MultiheadAttention(
    in_proj_weight_initializer=Constant(0.5)
    (out_proj): OutputProjection(in_features=8, out_features=8, bias=True)
  )
  (4): Linear(in_features=8, out_features=2, bias=True)
)"""


def test_a_printed_model_says_how_each_layer_starts():
    """A colleague reads the start off the model; a layer without an argument prints as torch's."""
    conv = nn.LazyConv2d(16, 3, bias=False, weight_initializer=kaiming_normal("relu"))
    norm = nn.LayerNorm(16, weight_initializer="zeros")
    lstm = nn.LSTM(16, 8, weight_hh_initializer=Orthogonal(), bias_ih_initializer=ForgetGate())
    attention = nn.MultiheadAttention(8, 2, in_proj_weight_initializer=0.5)
    model = torch.nn.Sequential(conv, norm, lstm, attention, nn.Linear(8, 2))
    assert repr(model) == PRINTED
