"""torch's layers with ``weight_initializer=`` and ``bias_initializer=``.

Every class takes its torch.nn twin's arguments, then one keyword ``<kind>_initializer`` for each
kind of parameter; without them it draws, bit for bit, what torch draws.
"""

from fanin.nn._activation import PReLU
from fanin.nn._attention import MultiheadAttention
from fanin.nn._batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, SyncBatchNorm
from fanin.nn._cells import GRUCell, LSTMCell, RNNCell
from fanin.nn._convolution import Conv1d, Conv2d, Conv3d
from fanin.nn._embedding import Embedding, EmbeddingBag
from fanin.nn._instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from fanin.nn._lazy_batch_norm import LazyBatchNorm1d, LazyBatchNorm2d, LazyBatchNorm3d
from fanin.nn._lazy_convolution import LazyConv1d, LazyConv2d, LazyConv3d
from fanin.nn._lazy_instance_norm import LazyInstanceNorm1d, LazyInstanceNorm2d, LazyInstanceNorm3d
from fanin.nn._lazy_transposed import LazyConvTranspose1d, LazyConvTranspose2d, LazyConvTranspose3d
from fanin.nn._linear import Bilinear, LazyLinear, Linear
from fanin.nn._normalization import GroupNorm, LayerNorm, RMSNorm
from fanin.nn._recurrent import GRU, LSTM, RNN
from fanin.nn._transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "Bilinear",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Embedding",
    "EmbeddingBag",
    "GRUCell",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LSTMCell",
    "LayerNorm",
    "LazyBatchNorm1d",
    "LazyBatchNorm2d",
    "LazyBatchNorm3d",
    "LazyConv1d",
    "LazyConv2d",
    "LazyConv3d",
    "LazyConvTranspose1d",
    "LazyConvTranspose2d",
    "LazyConvTranspose3d",
    "LazyInstanceNorm1d",
    "LazyInstanceNorm2d",
    "LazyInstanceNorm3d",
    "LazyLinear",
    "Linear",
    "MultiheadAttention",
    "PReLU",
    "RMSNorm",
    "RNNCell",
    "SyncBatchNorm",
]
