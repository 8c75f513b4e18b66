"""Records small files that PyTorch writes, for tests/test_weights.py: `old.pth` and `new.pth` in a folder.

python -m experiments.record_pth tests/recorded

All kinds of numbers, views with strides and offsets, shared and tied values, parameters, buffers, and the state dict
beside other things, as the published program stores it.
"""

import sys
from pathlib import Path


def main(folder: str) -> None:
    import torch

    values = torch.arange(24, dtype=torch.float32).reshape(4, 6) / 7
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.arange(parameter.numel()).reshape(parameter.shape) / 4)
    kinds = ("float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8", "bool")
    tensors = {
        **network.state_dict(),
        "whole": values,
        "view": values[1:3, ::2],
        "turned": values.t(),
        "row": values[2],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 5),
        "parameter": torch.nn.Parameter(torch.tensor([1.0, -1.0])),
        **{kind: torch.tensor([0, 1, 3]).to(getattr(torch, kind)) for kind in kinds},
    }
    content = {
        "ae_state_dict": tensors,
        "centers": {0: torch.ones(2)},
        "R": [0.5, None, True, (1, 2, 3, 4)],
        "epoch": 70_000,
    }
    for name, new in (("old", False), ("new", True)):
        torch.save(content, Path(folder) / f"{name}.pth", _use_new_zipfile_serialization=new)


if __name__ == "__main__":
    main(sys.argv[1])
