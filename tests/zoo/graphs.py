"""Graph networks of torch_geometric: messages are gathered and scattered between the weights."""

from collections.abc import Callable

import torch
from tests.zoo.packages import load
from tests.zoo.record import Architecture, Batch, floats
from torch import Tensor, nn

__all__ = ["ARCHITECTURES"]


def _graph() -> Batch:
    """A ring of nine nodes with two chords, both directions."""
    nodes = torch.arange(9)
    there = torch.cat([nodes, torch.tensor([0, 3])])
    back = torch.cat([(nodes + 1) % 9, torch.tensor([4, 8])])
    edges = torch.stack([torch.cat([there, back]), torch.cat([back, there])])
    return {"x": floats(9, 6), "edge_index": edges}


def _model(name: str, **settings: object) -> Callable[[], nn.Module]:
    return lambda: getattr(load("torch_geometric.nn"), name)(
        in_channels=6, hidden_channels=8, num_layers=2, out_channels=3, **settings
    )


class _GPS(nn.Module):
    """Two layers of message passing beside attention, between an encoder and a head."""

    def __init__(self) -> None:
        super().__init__()
        package = load("torch_geometric.nn")
        self.encoder = nn.Linear(6, 8)
        self.layers = nn.ModuleList()
        for _ in range(2):
            messages = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
            self.layers.append(package.GPSConv(8, package.GINConv(messages), heads=2))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return self.head(x)


class _DeepGCN(nn.Module):
    """x + conv(relu(norm(x))), twice."""

    def __init__(self) -> None:
        super().__init__()
        package = load("torch_geometric.nn")
        self.encoder = nn.Linear(6, 8)
        self.layers = nn.ModuleList(
            package.DeepGCNLayer(package.GENConv(8, 8), nn.LayerNorm(8), nn.ReLU(), block="res+")
            for _ in range(2)
        )
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = self.encoder(x)
        for layer in self.layers:
            x = layer(x, edge_index)
        return self.head(x)


ARCHITECTURES = (
    Architecture(
        name="GCN",
        package="torch_geometric",
        factory=_model("GCN"),
        batch=_graph,
        readouts=("convs.1.lin.weight",),
    ),
    Architecture(
        name="GraphSAGE",
        package="torch_geometric",
        # lin_l(mean of neighbours) + lin_r(x): a sum of two weights, neither of which is a
        # stream. In the last layer both leave the model.
        factory=_model("GraphSAGE"),
        batch=_graph,
        readouts=("convs.1.{lin_l,lin_r}.weight",),
    ),
    Architecture(
        name="GAT",
        package="torch_geometric",
        # att_src and att_dst are multiplied elementwise and summed: vectors of three axes.
        factory=_model("GAT", heads=2),
        batch=_graph,
        readouts=("convs.1.lin.weight",),
    ),
    Architecture(
        name="GIN",
        package="torch_geometric",
        # sum of neighbours + (1 + eps) x, then an mlp: no weight stands in the branch.
        factory=_model("GIN", train_eps=True),
        batch=_graph,
        readouts=("convs.1.nn.lins.1.weight",),
        special={"convs.{i}.eps": "zero: the node itself counts once"},
    ),
    Architecture(
        name="PNA",
        package="torch_geometric",
        # Towers; many aggregations concatenated with the input.
        factory=_model(
            "PNA",
            aggregators=["mean", "max", "std"],
            scalers=["identity", "amplification"],
            deg=torch.tensor([0, 0, 5, 4]),
            towers=1,
        ),
        batch=_graph,
        readouts=("convs.1.lin.weight",),
    ),
    Architecture(
        name="GPS",
        package="torch_geometric",
        # norm(x + conv(x)) + norm(x + attention(x)), then x + mlp(x): three writers a layer.
        # Nodes go to a dense batch and back through a mask.
        factory=_GPS,
        batch=_graph,
        writers=(
            "layers.{i}.conv.nn.2.weight",
            "layers.{i}.attn.out_proj.weight",
            "layers.{i}.mlp.3.weight",
        ),
        readouts=("head.weight",),
    ),
    Architecture(
        name="DeepGCN",
        package="torch_geometric",
        # The convolution adds its own input to the messages before its mlp: no weight in there.
        factory=_DeepGCN,
        batch=_graph,
        writers=("layers.{i}.conv.mlp.4.weight",),
        readouts=("head.weight",),
    ),
)
