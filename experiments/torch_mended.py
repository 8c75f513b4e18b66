"""The published CIFAR-10 program with its two faults mended, in PyTorch, on the same data: what ours is held to.

python -m experiments.torch_mended --epochs=25 --seed=0 --normal_class=1 [--boundary=hard]

Pre-trained weights are handed over and batch-norm trains in stage two; all else as published: layers summed,
no 1/nu in the hard loss. Prints one JSON line.
"""

import argparse
import copy
import json
import time

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from experiments.bench import torch_lenet
from mocca_jax import data
from mocca_jax.configs import cifar10 as cifar10_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=25, help="of each stage")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--normal_class", type=int, default=1)
    parser.add_argument("--boundary", choices=("soft", "hard", "both"), default="both")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    began = time.monotonic()
    train, test, labels = load(options.normal_class)
    model = torch_lenet.AutoEncoder().to(memory_format=torch.channels_last)
    optimizer = torch_lenet.adam(model.parameters(), 1e-3)
    for _ in range(options.epochs):
        for chosen in torch.randperm(len(train)).split(256):
            torch_lenet.reconstruction_step(model, optimizer, train[chosen])
    for boundary in ("soft", "hard") if options.boundary == "both" else (options.boundary,):
        encoder = copy.deepcopy(model.encoder)
        auc = one_class(encoder, train, test, labels, options.epochs, boundary == "soft")
        row = {**vars(options), "boundary": boundary, "auc": auc, "seconds": time.monotonic() - began}
        print(json.dumps(row), flush=True)


def load(normal_class: int):
    config = cifar10_config.get_config()
    config.normal_class = normal_class
    cifar = data.load(config)

    def tensor(split):
        image = np.asarray(cifar.inputs.preprocess(np.asarray(split.images)))
        return torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).to(memory_format=torch.channels_last)

    return tensor(cifar.train), tensor(cifar.test), cifar.test.labels


def one_class(encoder, train, test, labels, epochs: int, soft: bool, nu: float = 0.1) -> float:
    def features(images):
        encoder.eval()
        with torch.no_grad():
            parts = [encoder(part)[1] for part in images.split(256)]
        return [torch.cat(layer) for layer in zip(*parts)]

    centroids = [f.mean(0) for f in features(train)]
    for c in centroids:
        c[(c.abs() < 0.1) & (c < 0)] = -0.1
        c[(c.abs() < 0.1) & (c > 0)] = 0.1
    radii = [torch.tensor(0.0)] * len(centroids)
    encoder.train()
    optimizer = torch_lenet.adam(encoder.parameters(), 1e-4)
    for epoch in range(epochs):
        for chosen in torch.randperm(len(train)).split(256):
            _, dist = torch_lenet.one_class_step(encoder, optimizer, train[chosen], centroids, radii, nu, soft)
            if soft and epoch >= 10:
                radii = [torch.quantile(d.sqrt(), 1 - nu) for d in dist]
    scores = sum(((f - c) ** 2).sum(1) for f, c in zip(features(test), centroids)) / len(centroids)
    return float(roc_auc_score(labels, scores.numpy()))


if __name__ == "__main__":
    main()
