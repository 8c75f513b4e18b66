"""Time of the pretrained encoder's features, ours against PyTorch on the same network, interleaved in one run.

python -m experiments.bench.pretrained_features [--rounds=7] [--side=256]

EfficientNet-Lite0 to block 10 with random weights, as the picture detector uses it. A step is 16 images, in batches of
the size that stands behind the variant's name.
"""

import argparse
import os

from experiments.bench import interleaved

MODULE = "experiments.bench.pretrained_features"
IMAGES, DEEPEST = 16, 10
VARIANTS = ("torch 1", "torch channels-last 1", "torch channels-last 8", "ours 2", "ours 16", "ours, one device 1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _, side, name = options.worker.split("/")
        make = torch_step if name.startswith("torch") else our_step
        interleaved.serve(lambda: make(int(side), name, int(name.split()[-1])))
        return
    print(interleaved.circumstances(images=IMAGES, deepest_block=DEEPEST))
    interleaved.compare(MODULE, f"features/{options.side}", VARIANTS, options.rounds, IMAGES)


def torch_step(side: int, name: str, batch: int):
    import torch
    from torch import nn

    from mocca_jax.models import efficientnet

    torch.set_num_threads(os.cpu_count())

    class Same(nn.Module):
        """A convolution with TensorFlow's padding, its batch-norm folded in."""

        def __init__(self, width_in: int, width: int, kernel: int, stride: int, groups: int = 1):
            super().__init__()
            self.kernel, self.stride = kernel, stride
            self.conv = nn.Conv2d(width_in, width, kernel, stride, groups=groups)

        def forward(self, x):
            down, across = (efficientnet.same_padding(n, self.kernel, self.stride) for n in x.shape[2:])
            return self.conv(nn.functional.pad(x, (*across, *down)) if self.kernel > 1 else x)

    class Block(nn.Module):
        def __init__(self, block: efficientnet.Block):
            super().__init__()
            inner = block.width_in * block.expansion
            self.expand = Same(block.width_in, inner, 1, 1) if block.expansion > 1 else None
            self.depthwise = Same(inner, inner, block.kernel, block.stride, groups=inner)
            self.project = Same(inner, block.width, 1, 1)
            self.stays = block.stride == 1 and block.width_in == block.width

        def forward(self, x):
            y = nn.functional.relu6(self.expand(x)) if self.expand else x
            y = self.project(nn.functional.relu6(self.depthwise(y)))
            return x + y if self.stays else y

    blocks = [Block(block) for block in efficientnet.plan("efficientnet_lite0")[: DEEPEST + 1]]
    layout = torch.channels_last if "channels" in name else torch.contiguous_format
    model = nn.Sequential(Same(3, efficientnet.STEM, 3, 2), nn.ReLU6(), *blocks).eval().to(memory_format=layout)
    images = torch.rand(IMAGES, 3, side, side).to(memory_format=layout)

    @torch.inference_mode()
    def step():
        for part in images.split(batch):
            model(part)

    return step


def our_step(side: int, name: str, batch: int):
    import jax
    import numpy as np

    from mocca_jax import models
    from mocca_jax.configs import folder
    from mocca_jax.training import parallel

    parallel.configure(1 if "one device" in name else 0, None)
    config = folder.get_config()
    model = models.build(config, (side, side, 3), (2, 4, 7, DEEPEST), head="activation")
    variables = models.init_variables(model, (side, side, 3), jax.random.key(0), "encode")
    mesh = parallel.make_mesh()
    variables = parallel.replicate(variables, mesh)
    mask = np.ones(batch, np.float32)

    @jax.jit
    def features(variables, images):
        return model.apply(variables, images, mask, False, method="encode", mutable=["features"])[1]

    images = np.random.default_rng(0).normal(size=(IMAGES, side, side, 3)).astype(np.float32)
    parts = [parallel.shard(images[start : start + batch], mesh) for start in range(0, IMAGES, batch)]

    def step():
        jax.block_until_ready([features(variables, part) for part in parts])

    return step


if __name__ == "__main__":
    main()
