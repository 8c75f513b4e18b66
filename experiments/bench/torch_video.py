"""The ShanghaiTech network and its training step in PyTorch, as a user would write them: the yardstick.

Tensor names are those of the published program's state dicts. Clips are `[B, C, T, H, W]`.
"""

import torch
from torch import nn
from torch.nn import functional

STRIDES = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2), (2, 2, 2))
UP_STRIDES = ((2, 2, 2), (1, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
WIDTHS = (8, 16, 32, 64, 64)
UP_WIDTHS = (64, 32, 16, 8, 8)


class CausalConv(nn.Conv3d):
    """A kernel of 3 whose last temporal tap is zero."""

    def __init__(self, c_in: int, c_out: int, stride=1):
        super().__init__(c_in, c_out, 3, stride, padding=1, bias=False)
        taps = torch.ones(3, 1, 1)
        taps[-1] = 0
        self.register_buffer("taps", taps, persistent=False)

    def forward(self, x):
        return functional.conv3d(x, self.weight * self.taps, None, self.stride, self.padding)


class Downsample(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride):
        super().__init__()
        self.conv1a = CausalConv(c_in, c_out, stride)
        self.conv1b = CausalConv(c_out, c_out)
        self.conv2a = nn.Conv3d(c_in, c_out, 1, stride, bias=False)
        self.bn1a, self.bn1b, self.bn2a = (nn.BatchNorm3d(c_out) for _ in range(3))

    def forward(self, x):
        inner = functional.leaky_relu(self.bn1a(self.conv1a(x)))
        return functional.leaky_relu(self.bn1b(self.conv1b(inner)) + self.bn2a(self.conv2a(x)))


class Upsample(nn.Module):
    def __init__(self, c_in: int, c_out: int, stride):
        super().__init__()
        transposed = {"stride": stride, "padding": 2, "output_padding": tuple(s - 1 for s in stride), "bias": False}
        self.conv1a = nn.ConvTranspose3d(c_in, c_out, 5, **transposed)
        self.conv1b = nn.Conv3d(c_out, c_out, 3, padding=1, bias=False)
        self.conv2a = nn.ConvTranspose3d(c_in, c_out, 5, **transposed)
        self.bn1a, self.bn1b, self.bn2a = (nn.BatchNorm3d(c_out) for _ in range(3))

    def forward(self, x):
        inner = functional.leaky_relu(self.bn1a(self.conv1a(x)))
        return functional.leaky_relu(self.bn1b(self.conv1b(inner)) + self.bn2a(self.conv2a(x)))


class Shared(nn.Module):
    """A linear layer shared by all time steps."""

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.linear = nn.Linear(c_in, c_out)

    def forward(self, x):
        return self.linear(x)


class Selector(nn.Module):
    def __init__(self, channels: int, steps: int, height: int, width: int):
        super().__init__()
        self.cv1 = nn.Sequential(
            nn.Conv3d(channels, 2 * channels, 3, (1, 2, 2), 1),
            nn.BatchNorm3d(2 * channels),
            nn.ReLU(),
            nn.Conv3d(2 * channels, 4 * channels, 3, 1, 1),
            nn.BatchNorm3d(4 * channels),
            nn.ReLU(),
            nn.Conv3d(4 * channels, 4 * channels, 1),
        )
        cells = 4 * channels * -(-height // 2) * -(-width // 2)
        self.fc = nn.Sequential(Shared(cells, 256), nn.BatchNorm1d(steps), nn.ReLU(), Shared(256, channels))

    def forward(self, x):
        return self.fc(self.cv1(x).transpose(1, 2).flatten(2))


class Encoder(nn.Module):
    def __init__(self, shape, code_size: int, hidden: int = 100, selectors: bool = False, **lstm):
        super().__init__()
        self.selectors = selectors
        channels, steps, height, width = shape
        for i, (out, stride) in enumerate(zip(WIDTHS, STRIDES), start=1):
            steps, height, width = (n // s for n, s in zip((steps, height, width), stride))
            setattr(self, f"conv_{i}", Downsample(channels, out, stride))
            setattr(self, f"lstm_{i}", nn.LSTM(out, hidden, batch_first=True, **lstm))
            if selectors:
                setattr(self, f"sel{i}", Selector(out, steps, height, width))
            channels = out
        self.tdl_1 = Shared(channels * height * width, 512)
        self.tdl_2 = Shared(512, code_size)
        self.lstm_tdl_1 = nn.LSTM(512, hidden, batch_first=True, **lstm)
        self.lstm_tdl_2 = nn.LSTM(code_size, hidden, batch_first=True, **lstm)

    def forward(self, x):
        """The code `[B, T/4, Z]` and the seven features."""
        features = []
        for i in range(1, len(WIDTHS) + 1):
            x = getattr(self, f"conv_{i}")(x)
            steps = getattr(self, f"sel{i}")(x) if self.selectors else x.mean((3, 4)).transpose(1, 2)
            features.append(getattr(self, f"lstm_{i}")(steps)[0][:, -1])
        hidden = torch.tanh(self.tdl_1(x.transpose(1, 2).flatten(2)))
        code = torch.sigmoid(self.tdl_2(hidden))
        features += [self.lstm_tdl_1(hidden)[0][:, -1], self.lstm_tdl_2(code)[0][:, -1]]
        return code, features


class Decoder(nn.Module):
    def __init__(self, shape, code_size: int):
        super().__init__()
        channels, steps, height, width = shape
        self.deepest = (WIDTHS[-1], steps // 4, height // 32, width // 32)
        cells = WIDTHS[-1] * (height // 32) * (width // 32)
        self.tdl = nn.Sequential(Shared(code_size, 512), nn.Tanh(), Shared(512, cells), nn.LeakyReLU())
        blocks = []
        c_in = WIDTHS[-1]
        for out, stride in zip(UP_WIDTHS, UP_STRIDES):
            blocks.append(Upsample(c_in, out, stride))
            c_in = out
        self.conv = nn.Sequential(*blocks, nn.Conv3d(c_in, channels, 1))

    def forward(self, code):
        h = self.tdl(code).transpose(1, 2).contiguous()  # the published order: see mocca_jax.models.video_resnet
        return self.conv(h.view(len(h), *self.deepest))


class AutoEncoder(nn.Module):
    """For clips of `shape` (C, T, H, W)."""

    def __init__(self, shape, code_size: int, hidden: int = 100, selectors: bool = False, **lstm):
        super().__init__()
        self.encoder = Encoder(shape, code_size, hidden, selectors, **lstm)
        self.decoder = Decoder(shape, code_size)

    def forward(self, x):
        code, features = self.encoder(x)
        return self.decoder(code), features


def joint_step(model: AutoEncoder, optimizer, x, centroids, radii, nu: float = 0.1):
    """One step of the joint stage, soft boundary; returns the loss and the distances per layer."""
    optimizer.zero_grad()
    reconstruction, features = model(x)
    distances = [((f - c) ** 2).sum(1) for f, c in zip(features, centroids)]
    one_class = sum(r**2 + torch.clamp(d - r**2, min=0).mean() / nu for d, r in zip(distances, radii))
    loss = one_class + ((reconstruction - x) ** 2).sum((1, 2, 3, 4)).mean()
    loss.backward()
    optimizer.step()
    return loss.item(), [d.detach() for d in distances]
