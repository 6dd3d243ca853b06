"""Small recurrent nets of our own."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name

__all__ = ["CharLSTM", "LSTMByHand", "LinearRecurrence", "StackedCells", "TwoWayGRU"]


class CharLSTM(nn.Module):
    """Two LSTM layers with a projection of the hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 6)
        self.lstm = nn.LSTM(6, 12, num_layers=2, proj_size=5, batch_first=True)
        self.head = nn.Linear(5, 20)

    def forward(self, ids: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(ids))
        return self.head(states)


class TwoWayGRU(nn.Module):
    """Both directions, read at the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 8, batch_first=True, bidirectional=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.gru(x)
        return self.head(states[:, -1])


class StackedCells(nn.Module):
    """torch's three cells on top of each other, stepped by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(6, 8)
        self.gru = nn.GRUCell(8, 8)
        self.rnn = nn.RNNCell(8, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, memory, second, third = (x.new_zeros(len(x), 8) for _ in range(4))
        for step in x.unbind(1):
            state, memory = self.lstm(step, (state, memory))
            second = self.gru(state, second)
            third = self.rnn(second, third)
        return self.head(third)


class LSTMByHand(nn.Module):
    """c <- f c + i g, written with packed weights and chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_input = nn.Parameter(torch.randn(32, 6) / 6**0.5)
        self.weight_hidden = nn.Parameter(torch.randn(32, 8) / 8**0.5)
        self.bias = nn.Parameter(torch.zeros(32))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden, cell = x.new_zeros(len(x), 8), x.new_zeros(len(x), 8)
        for step in x.unbind(1):
            gates = F.linear(step, self.weight_input) + F.linear(hidden, self.weight_hidden)
            take, keep, new, out = (gates + self.bias).chunk(4, dim=-1)
            cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
            hidden = out.sigmoid() * cell.tanh()
        return self.head(hidden)


class LinearRecurrence(nn.Module):
    """h <- a h + W x_t: what is added does not read what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.full((8,), 0.9))
        self.into = nn.Linear(6, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(len(x), 8)
        for step in x.unbind(1):
            hidden = self.decay * hidden + self.into(step)
        return self.head(hidden)
