"""The MVTec AD network and its training steps in PyTorch, as a user would write them: the yardstick.

Tensor names are those of the published program's state dicts.
"""

import torch
from torch import nn
from torch.nn import functional


class Residual(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x):
        inner = functional.leaky_relu(self.bn1(self.conv1(x)))
        return functional.leaky_relu(self.bn2(self.conv2(inner)) + x)


class Downsample(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.conv1a = nn.Conv2d(c_in, c_out, 3, stride=2, padding=1, bias=False)
        self.conv1b = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.conv2a = nn.Conv2d(c_in, c_out, 1, stride=2, bias=False)
        self.bn1a, self.bn1b, self.bn2a = (nn.BatchNorm2d(c_out) for _ in range(3))

    def forward(self, x):
        inner = functional.leaky_relu(self.bn1a(self.conv1a(x)))
        return functional.leaky_relu(self.bn1b(self.conv1b(inner)) + self.bn2a(self.conv2a(x)))


class Upsample(nn.Module):
    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        transposed = {"stride": 2, "output_padding": 1, "bias": False}
        self.conv1a = nn.ConvTranspose2d(c_in, c_out, 5, padding=2, **transposed)
        self.conv1b = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.conv2a = nn.ConvTranspose2d(c_in, c_out, 1, **transposed)
        self.bn1a, self.bn1b, self.bn2a = (nn.BatchNorm2d(c_out) for _ in range(3))

    forward = Downsample.forward


class Selector(nn.Module):
    def __init__(self, size: int, is_map: bool):
        super().__init__()
        tail = [nn.Linear(64 if is_map else size, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, 128)]
        front = [nn.AdaptiveMaxPool2d(8), nn.Conv2d(size, 1, 1), nn.Flatten()] if is_map else [nn.Flatten()]
        self.fc = nn.Sequential(*front, *tail)

    def forward(self, x):
        return self.fc(x)


class Encoder(nn.Module):
    """Features of `layers`; selectors only for those, so that the others cost nothing."""

    def __init__(self, side: int, code_size: int, layers=(), selectors: bool = True):
        super().__init__()
        self.layers = tuple(layers)
        self.conv = nn.Conv2d(3, 32, 3, bias=False)
        self.res = Residual(32)
        self.dwn1, self.dwn2, self.dwn3 = Downsample(32, 64), Downsample(64, 128), Downsample(128, 256)
        self.fc1 = nn.Linear(256 * (side // 8) ** 2, 256)
        self.bn = nn.BatchNorm1d(256)
        self.fc2 = nn.Linear(256, code_size)
        sizes = (32, 32, 64, 128, 256, 256, code_size, code_size)
        if selectors:
            self.selectors = nn.ModuleDict({str(j): Selector(sizes[j], j < 5) for j in self.layers})

    def forward(self, x):
        maps = [self.conv(x)]
        maps.append(self.res(functional.leaky_relu(maps[-1])))
        for block in (self.dwn1, self.dwn2, self.dwn3):
            maps.append(block(maps[-1]))
        hidden = functional.leaky_relu(self.bn(self.fc1(maps[-1].flatten(1))))
        code = self.fc2(hidden)
        outputs = [*maps, hidden, code, torch.sigmoid(code)]
        if hasattr(self, "selectors"):
            return outputs[-1], [self.selectors[str(j)](outputs[j]) for j in self.layers]
        means = [o.mean((2, 3)) if o.ndim == 4 else o for o in outputs]
        return outputs[-1], [means[j] for j in self.layers]


class Decoder(nn.Module):
    def __init__(self, side: int, code_size: int):
        super().__init__()
        self.side, cells = side // 8, 256 * (side // 8) ** 2
        self.fc = nn.Sequential(
            nn.Linear(code_size, 256),
            nn.BatchNorm1d(256),
            nn.LeakyReLU(),
            nn.Linear(256, cells),
            nn.BatchNorm1d(cells),
            nn.LeakyReLU(),
        )
        blocks = (Upsample(256, 128), Upsample(128, 64), Upsample(64, 32), Residual(32))
        self.conv = nn.Sequential(*blocks, nn.Conv2d(32, 3, 1, bias=False))

    def forward(self, code):
        return self.conv(self.fc(code).view(-1, 256, self.side, self.side))


class AutoEncoder(nn.Module):
    def __init__(self, side: int, code_size: int, layers=(), selectors: bool = True):
        super().__init__()
        self.encoder = Encoder(side, code_size, layers, selectors)
        self.decoder = Decoder(side, code_size)

    def forward(self, x):
        return self.decoder(self.encoder(x)[0])
