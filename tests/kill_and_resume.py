"""A training that test_train.py starts as a process of its own, alone to kill it, and twice to train in parallel.

python tests/kill_and_resume.py FOLDER STEPS says each step and leaves FOLDER/process0.pt when it is done.
"""

import sys
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.optim.swa_utils import AveragedModel

from ddpm_lesson import TwoBumps, cosine_schedule
from ddpm_lesson.train import train


class Network(torch.nn.Module):
    """Two layers that also see t / T, and count the rows they are given."""

    def __init__(self, n=20, width=64, T=50):
        super().__init__()
        self.T, self.rows = T, set()
        self.layers = torch.nn.Sequential(torch.nn.Linear(n + 1, width), torch.nn.SiLU(), torch.nn.Linear(width, n))

    def forward(self, xt, t):
        self.rows.add(len(xt))
        return self.layers(torch.cat([xt, t[:, None] / self.T], 1))


def run(folder, steps, say=lambda step: None):
    """Trains from the checkpoint in folder, or from the start; what came out, as one dictionary of plain things."""
    torch.manual_seed(0)
    network, accelerator = Network(), Accelerator(cpu=True)
    ema, losses = AveragedModel(network), []
    for step, loss, _ in train(network, ema, TwoBumps(20).sample, cosine_schedule(50), steps=steps, batch=16,
                               accelerator=accelerator, checkpoint=Path(folder) / "checkpoint.pt", save_every=1):
        losses.append(loss)
        say(step)
    result = {"weights": network.state_dict(), "ema": ema.state_dict(), "losses": losses, "rows": sorted(network.rows)}
    return result, accelerator


if __name__ == "__main__":
    torch.set_num_threads(1)
    result, accelerator = run(sys.argv[1], int(sys.argv[2]), lambda step: print(step, flush=True))
    torch.save(result, Path(sys.argv[1]) / f"process{accelerator.process_index}.pt")
    accelerator.end_training()
