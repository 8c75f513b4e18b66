"""The CIFAR-10 network and its two training steps in PyTorch, as a user would write them: the yardstick."""

import torch
from torch import nn
from torch.nn import functional

EPS = 1e-4
WIDTHS = (32, 64, 128)


class Encoder(nn.Module):
    def __init__(self, code_size: int = 128):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 5, padding=2, bias=False) for i, o in zip((3, *WIDTHS), WIDTHS))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=EPS, affine=False) for o in WIDTHS)
        self.linear = nn.Linear(2048, code_size, bias=False)
        for conv in self.convs:
            nn.init.xavier_uniform_(conv.weight, nn.init.calculate_gain("leaky_relu"))

    def forward(self, x):
        features = []
        for conv, norm in zip(self.convs, self.norms):
            x = conv(x)
            features.append(x.mean((2, 3)))
            x = functional.max_pool2d(functional.leaky_relu(norm(x)), 2)
        code = self.linear(x.flatten(1))
        return code, [*features, code]


class AutoEncoder(nn.Module):
    def __init__(self, code_size: int = 128):
        super().__init__()
        self.encoder = Encoder(code_size)
        self.code_norms = nn.ModuleList(nn.BatchNorm1d(code_size, eps=EPS, affine=False) for _ in range(2))
        widths = (*reversed(WIDTHS), 3)
        self.convs = nn.ModuleList(
            nn.ConvTranspose2d(i, o, 5, padding=2, bias=False) for i, o in zip((code_size // 16, *widths), widths)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(o, eps=EPS, affine=False) for o in widths[:-1])
        for conv in self.convs[1:]:
            nn.init.xavier_uniform_(conv.weight, nn.init.calculate_gain("leaky_relu"))

    def forward(self, x):
        code, _ = self.encoder(x)
        for norm in self.code_norms:
            code = norm(code)
        x = functional.leaky_relu(code.view(len(code), -1, 4, 4))
        for conv, norm in zip(self.convs, self.norms):
            x = functional.interpolate(functional.leaky_relu(norm(conv(x))), scale_factor=2)
        return torch.sigmoid(self.convs[-1](x))


def adam(parameters, rate: float):
    return torch.optim.Adam(parameters, lr=rate, weight_decay=5e-7)


def reconstruction_step(model: AutoEncoder, optimizer, x):
    optimizer.zero_grad()
    loss = ((model(x) - x) ** 2).sum((1, 2, 3)).mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def one_class_step(encoder: Encoder, optimizer, x, centroids, radii, nu: float = 0.1, soft: bool = True):
    """Returns the loss and the distances per layer."""
    optimizer.zero_grad()
    _, features = encoder(x)
    distances = [((f - c) ** 2).sum(1) for f, c in zip(features, centroids)]
    if soft:
        loss = sum(r**2 + torch.clamp(d - r**2, min=0).mean() / nu for d, r in zip(distances, radii))
    else:
        loss = sum(d.mean() for d in distances)
    loss.backward()
    optimizer.step()
    return loss.item(), [d.detach() for d in distances]
