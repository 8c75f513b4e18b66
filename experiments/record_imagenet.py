"""Records what torchvision's ResNets compute, for tests/test_imagenet_resnet.py.

python -m experiments.record_imagenet tests/recorded/imagenet_resnet.npz

Needs torch, torchvision and timm. Images and weights are drawn from seeds by name, see `record_efficientnet`.
"""

import sys

import numpy as np

from experiments.record_efficientnet import block_outputs, image, some
from experiments.record_resnet import draw

SIDES = {"even": (64, 32), "odd": (37, 51)}
SMALL_WIDE = (1, 2, 1, 1)  # blocks of each stage of a Wide ResNet that is quickly computed


def main(path: str) -> None:
    import timm
    import torch
    import torchvision
    from torchvision.models.resnet import Bottleneck, ResNet

    found: dict[str, np.ndarray] = {}
    made = {
        "resnet18": torchvision.models.resnet18(),
        "small_wide": ResNet(Bottleneck, list(SMALL_WIDE), width_per_group=128),
    }
    for name, model in made.items():
        model.double().eval()
        shapes = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
        model.load_state_dict({n: torch.tensor(draw(n, s)) for n, s in shapes.items()}, strict=False)
        found[f"{name}/names"] = _names(model)
        blocks = [block for stage in range(1, 5) for block in getattr(model, f"layer{stage}")]
        for which, sides in SIDES.items():
            with torch.no_grad():
                outputs = block_outputs(model, blocks, torch.tensor(image(sides), dtype=torch.double))
            found[f"{name}/{which}/values"] = np.concatenate([some(output) for output in outputs])
            found[f"{name}/{which}/shapes"] = np.array([output.shape for output in outputs])
    found["wide_resnet50_2/names"] = _names(torchvision.models.wide_resnet50_2())
    for name in ("resnet18", "wide_resnet50_2"):
        assert bytes(_names(timm.create_model(name))) == bytes(found[f"{name}/names"])
    np.savez_compressed(path, **found)


def _names(model) -> np.ndarray:
    """Names and shapes of the state dict as bytes, sorted."""
    items = sorted((n, t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked"))
    return np.frombuffer("\n".join(f"{n} {','.join(map(str, s))}" for n, s in items).encode(), np.uint8)


if __name__ == "__main__":
    main(sys.argv[1])
