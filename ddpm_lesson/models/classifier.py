"""The reader of digits by which samples are judged: a small convolutional network, and the script that trains it.

`python -m ddpm_lesson.train classifier` trains it on MNIST and writes the weights that this package ships.
"""

import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, pad

from ..inputs import check_count, check_tensor
from .weights import SHIPPED, save_weights


class Classifier(nn.Module):
    """A classifier of images, x -> logits (B, 10), whose `.features(x)` (B, 64) are what the logits are computed from.

    logits = last(features(x)); the share it gives to class k is logits.softmax(1)[:, k]
    LeCun et al. 1998, with batch normalization and ReLU.

    side: of an image, a multiple of 4. x is (B, 1, side, side), in [-1, 1], of the weights' dtype and device; another
    shape raises ValueError. Ask it in eval mode: in training each answer depends on the rest of its batch.
    """

    def __init__(self, side=28):
        super().__init__()
        self.side = check_count("side", side, 4)
        if side % 4:
            raise ValueError(f"side must be a multiple of 4, not {side}")
        self.body = nn.Sequential(
            *_convolution(1, 16), nn.MaxPool2d(2),  # (B, 16, side / 2, side / 2)
            *_convolution(16, 32), nn.MaxPool2d(2),  # (B, 32, side / 4, side / 4)
            *_convolution(32, 64), nn.Flatten(),  # (B, 64 * side**2 / 16)
            nn.Linear(4 * side**2, 64), nn.ReLU())
        self.last = nn.Linear(64, 10)

    def features(self, x):
        if x.ndim != 4 or x.shape[1:] != (1, self.side, self.side):
            raise ValueError(f"x must have shape (B, 1, {self.side}, {self.side}), not {tuple(x.shape)}")
        return self.body(x)

    def forward(self, x):
        return self.last(self.features(x))


def _convolution(inside, out):
    return nn.Conv2d(inside, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()


def train_classifier(images, labels, *, epochs=10, batch=128, lr=4e-3, shift=2, seed=0, device="cpu"):
    """A Classifier of these images, trained, in eval mode.

    loss = cross_entropy(classifier(shifted(x)), label): AdamW, its rate up in the first fifth, then down to 0

    images: (N, 1, side, side) in [-1, 1], background -1; labels: (N,) integers in 0..9. In each epoch every image
    comes once, in a new order and moved by up to `shift` pixels each way. seed decides everything on a given machine;
    the caller's random state stays as it was. ValueError for wrong arguments.
    """
    if check_tensor("images", images).ndim != 4 or images.shape[1] != 1 or images.shape[2] != images.shape[3]:
        raise ValueError(f"images must have shape (N, 1, side, side), not {tuple(images.shape)}")
    if not torch.is_tensor(labels) or labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        found = f"{tuple(labels.shape)} of {labels.dtype}" if torch.is_tensor(labels) else type(labels).__name__
        raise ValueError(f"labels must be int64 of shape ({len(images)},), one per image, not {found}")
    if len(outside := labels[(labels < 0) | (labels > 9)]):
        raise ValueError(f"labels must lie in 0..9, not {int(outside[0])}")
    batch, side, shift = check_count("batch", batch, 2, len(images)), images.shape[2], check_count("shift", shift, 0)
    generator = torch.Generator().manual_seed(check_count("seed", seed, 0, 2**63 - 1))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Classifier(side).to(device, memory_format=torch.channels_last)
    steps = check_count("epochs", epochs) * (len(images) // batch)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.2)
    padded, pixels = pad(images[:, 0], [shift] * 4, value=-1.0).to(device), torch.arange(side)
    for _ in range(epochs):
        for rows in torch.randperm(len(images), generator=generator).split(batch)[: len(images) // batch]:
            y, x = (pixels + torch.randint(2 * shift + 1, (batch, 1), generator=generator) for _ in range(2))
            moved = padded[rows[:, None, None], y[:, :, None], x[:, None, :]]  # (batch, side, side)
            loss = cross_entropy(network(moved[:, None]), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    return network.eval()


@torch.no_grad()
def accuracy(classifier, images, labels):
    """The share of images, a float in 0..1, to which the classifier gives their label."""
    device = next(classifier.parameters()).device
    read = torch.cat([classifier(part.to(device)).argmax(1).cpu() for part in images.split(1000)])
    return (read == labels).double().mean().item()


def main(path=SHIPPED / "mnist_classifier.safetensors"):
    """Trains on the 60,000 training images, reads the 10,000 test images once, and writes weights and notes to path."""
    from accelerate import Accelerator

    from ..data import mnist

    device, start = Accelerator().device, time.perf_counter()
    classifier = train_classifier(*mnist("train"), device=device)
    seconds = round(time.perf_counter() - start)
    share = accuracy(classifier, *mnist("test"))
    Path(path).parent.mkdir(exist_ok=True)
    save_weights(classifier, path, {"side": classifier.side}, data="MNIST, 60,000 training images", accuracy=share,
                 seconds=seconds, device=device.type, command="python -m ddpm_lesson.train classifier")
    print(f"{share:.2%} of the 10,000 test images, after {seconds} s of training on {device.type}: {path}")
