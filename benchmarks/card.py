"""Judges a trained MNIST network and writes what it found into the network's own file, and the card from that.

    python -m benchmarks.card runs/mnist/mnist_unet.safetensors    # judge it, and put it where the package ships it
    python -m benchmarks.card                                      # write the card again from what is shipped

Real images are the test images: neither the network nor the classifier has seen them.
"""

import argparse
import time
from pathlib import Path

import torch

from ddpm_lesson import cosine_schedule, linear_schedule, sample
from ddpm_lesson.data import mnist
from ddpm_lesson.evaluate import (
    bound_by_t,
    frechet_distance,
    nearest_neighbours,
    over_repeats,
    precision_recall,
    read_classes,
)
from ddpm_lesson.labs import LABS
from ddpm_lesson.models import load_notes, load_weights, save_weights
from ddpm_lesson.models.weights import SHIPPED

COUNT, STEPS, N = 2000, 100, 2000  # samples, steps of each, and how many are compared with as many real images
BATCH = 50  # samples at once: on a CPU, with channels last, twice as fast as all at once
REPEATS = 20  # random choices of the real images


def judge(network, notes):
    """The numbers of the card, as notes: floats, or [mean, standard deviation over random choices of N images]."""
    schedule = {"cosine": cosine_schedule, "linear": linear_schedule}[notes["schedule"]](notes["T"])
    classifier, generator = load_weights("mnist_classifier"), torch.Generator().manual_seed(0)
    start = time.perf_counter()
    network.to(memory_format=torch.channels_last)
    fake = torch.cat([sample(network, schedule, (BATCH, 1, 28, 28), steps=STEPS, clip=1.0, predicts=notes["predicts"],
                             generator=generator) for _ in range(COUNT // BATCH)])
    seconds, (training, _), (real, labels) = time.perf_counter() - start, mnist("train"), mnist("test")
    with torch.no_grad():
        features = {name: torch.cat([classifier.features(x) for x in images.split(500)])
                    for name, images in (("fake", fake), ("real", real), ("training", training))}
        logits = {name: classifier.last(features[name]) for name in ("fake", "real")}

    def both(measure):
        floor = over_repeats(measure, features["real"], n=N, repeats=REPEATS, generator=generator)
        score = over_repeats(measure, features["real"], features["fake"], n=N, repeats=REPEATS, generator=generator)
        return [[v.tolist() for v in pair] for pair in (score, floor)]

    fd, floor = both(frechet_distance)
    (pr, _), (pr_floor, _) = both(precision_recall)
    shares, confidence = read_classes(logits["fake"])
    bound = bound_by_t(network, real[:1000], schedule, predicts=notes["predicts"], generator=generator)
    found = {
        "samples": COUNT, "sample_steps": STEPS, "sample_seconds": seconds, "compared": N, "repeats": REPEATS,
        "fd": fd, "fd_floor": floor,
        "improved_precision": pr[0], "improved_recall": pr[1],  # precision alone is the training's: no or bf16
        "improved_precision_floor": pr_floor[0], "improved_recall_floor": pr_floor[1],
        "class_shares": shares.tolist(), "confident": (confidence > 0.9).double().mean().item(),
        "confident_real": (read_classes(logits["real"])[1] > 0.9).double().mean().item(),
        "classifier_accuracy": (logits["real"].argmax(1) == labels).double().mean().item(),
        "bits_per_dim": bound.total, "bits_error": bound.error, "bits_L_T": bound.L_T, "bits_L_0": bound.L_0,
        "bits_L_t": bound.L_t.sum().item(), "bits_counting": counting(training, real[:1000]),
    }
    for space, sets in (("pixels", (fake, real, training)), ("features", features.values())):
        fakes, reals, known = sets
        found[f"nearest_{space}"] = nearest_neighbours(fakes[:N], known)[0].median().item()
        found[f"nearest_{space}_real"] = nearest_neighbours(reals[:N], known)[0].median().item()
    return {name: _rounded(value) for name, value in found.items()}


def counting(training, new):
    """Bits per pixel of a code without any network: how often each pixel has each of its 256 levels in training."""
    known, new = (((x.flatten(1) + 1) * 127.5).round().long() for x in (training, new))
    counts = torch.full((known.shape[1], 256), 1 / 256)  # (784, 256); no level is impossible
    counts.scatter_add_(1, known.T, torch.ones(known.T.shape))
    return -(counts / counts.sum(1, keepdim=True)).log2().gather(1, new.T).mean().item()


def card():
    """The text of checkpoints/README.md, from the notes in the shipped files."""
    unet, classifier = load_notes("mnist_unet"), load_notes("mnist_classifier")

    def table(*rows):
        return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])

    def origin(notes, by="trained by"):
        rows = ((by, f"`{notes['command']}`"),
                ("commit, versions", f"{notes['commit']}; {notes['versions']}"),
                ("hardware", f"{notes['machine']}, {notes['device']}; {notes['seconds'] / 60:.0f} minutes"))
        return origin(notes["started_from"], "first trained by") + rows if "started_from" in notes else rows

    def pair(name, show="{:.3f}", floor="_floor"):
        return [show.format(*value) if isinstance(value, list) else show.format(value)
                for value in (unet[name], unet[name + floor])]

    return f"""# The trained networks that come with the package

Written by `python -m benchmarks.card` from the notes inside the files; `ddpm_lesson.models.load_notes` returns them.

## mnist_unet.safetensors

{table(
    ("", ""),
    ("what it is", f"`UNet`, {unet['parameters']:,} parameters, float32: the average of the weights in training"),
    *origin(unet),
    ("data", f"the {unet['images']:,} training images of MNIST in [-1, 1]"),
    ("loss at the end", f"{unet['loss']:.4f}, the mean of the last steps' ε-loss"))}

Judged on {unet['samples']:,} samples, of {unet['sample_steps']} strided steps out of {unet['T']:,}, with σ "posterior"
and x_0 clipped to [-1, 1]. {unet['compared']:,} of them at a time are compared with as many of the 10,000 test images;
the floor is the same between two disjoint sets of {unet['compared']:,} test images. ± is the standard deviation over
{unet['repeats']} random choices.

{table(
    ("", "samples", "floor: real images"),
    ("Fréchet distance in the classifier's 64 features", *pair("fd", "{:.2f} ± {:.2f}")),
    ("precision", *pair("improved_precision")),
    ("recall", *pair("improved_recall")),
    ("read with more than 90 % confidence", *pair("confident", "{:.1%}", "_real")),
    ("median distance to the nearest training image, in pixels", *pair("nearest_pixels", "{:.2f}", "_real")),
    ("the same in features", *pair("nearest_features", "{:.2f}", "_real")))}

Each digit's share of the samples lies between {min(unet['class_shares']):.1%} and {max(unet['class_shares']):.1%}.

Bits per dimension: {unet['bits_per_dim']:.3f} ± {unet['bits_error']:.3f} (standard error) on 1,000 test images, a bound
on the code length of pixels of 256 levels. The decoder is Ho et al. 2020, Eq. 13, with variance β_1. Of these bits
{unet['bits_L_T']:.5f} are L_T, {unet['bits_L_t']:.3f} the steps 2 to {unet['T']:,}, and {unet['bits_L_0']:.3f} L_0.
A code without any network, from how often each pixel has each level in training, needs {unet['bits_counting']:.3f}.

## mnist_classifier.safetensors

{table(
    ("", ""),
    ("what it is", "`Classifier`, whose features and answers judge the samples"),
    *origin(classifier),
    ("data", "the 60,000 training images of MNIST, each moved by up to two pixels"),
    ("on the 10,000 test images", f"{classifier['accuracy']:.2%} right"))}

## Source and licence of the data

MNIST: Y. LeCun, C. Cortes and C. J. C. Burges, from NIST's Special Databases 1 and 3; widely distributed as CC BY-SA
3.0. The files here hold weights and no images; they come under this project's licence. `data/README.md` has the
checksums of the images.
"""


def _rounded(value):
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return value if isinstance(value, int) else float(f"{value:.5g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, help="a file that `python -m ddpm_lesson.train mnist` wrote")
    file = parser.parse_args().file
    if file:
        network, notes = load_weights(file), load_notes(file)
        notes |= judge(network, notes)
        save_weights(network, SHIPPED / "mnist_unet.safetensors", LABS["mnist"][1], **notes)
    (SHIPPED / "README.md").write_text(card(), encoding="utf-8")


if __name__ == "__main__":
    main()
