"""Training: one loop for both labs, alone, in a notebook or under `accelerate launch`."""

import math
import numbers
import os
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import torch
from accelerate import Accelerator
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from .forward import q_sample
from .inputs import ask, check_choice, check_count, check_tensor, time_index
from .losses import loss_weight
from .posterior import posterior_mean_var
from .predictors import PREDICTORS


class Step(NamedTuple):
    """One step of training: its number (1..steps), the loss of its whole batch, the learning rate it used."""
    step: int
    loss: float
    rate: float


def train(network, ema, data, schedule, *, steps, batch=128, lr=1e-3, warmup=None, clip=1.0, decay=0.999,
          predicts="eps", weighting="simple", seed=0, accelerator=None, checkpoint=None, save_every=500):
    """An iterator over (step, loss, rate), one per step of AdamW: trains network in place and keeps its average, ema.

    loss = sample_losses(network, x0, t, noise, schedule, predicts, weighting).mean(), t uniform on 1..T
    Ho et al. 2020, Algorithm 1; lecture 000, "Training".

        network = Transformer()           # any module (xt, t) -> prediction
        ema = AveragedModel(network)      # torch.optim.swa_utils: the denoiser to sample with
        for step, loss, rate in train(network, ema, TwoBumps().sample, schedule, steps=2000):
            print(step, loss, rate)

    data: a function (n, generator) -> x0, (n, ...), or a tensor of all samples, from which a batch is drawn with
    replacement: t and the noise are new at each visit anyway, and a restart needs no place in a shuffled order.
    The rate rises to lr in `warmup` steps (a twentieth if left out), then falls to 0 along a cosine. clip bounds the
    gradient's norm (inf: no bound). decay is ema's; in step k it is at most k / (k + 10), to forget the start.
    accelerator: an `accelerate.Accelerator`; it says device, precision ("no" or "bf16"), processes and compilation.
    All processes draw the same batch and take their share of it. seed decides everything but the first weights.
    checkpoint: a file, replaced in one piece every save_every steps and after the last. If it exists, training goes on
    from it, on the same CPU to the last bit as if never stopped; network and ema have its weights at once.
    ValueError at once for a wrong argument, and for a checkpoint that is damaged or of other settings.
    FloatingPointError, with the weights as they were, in a step whose loss or gradient is not finite.
    """
    accelerator = _check(network, ema, data, schedule, accelerator, check_count("batch", batch))
    for name, value, highest in (("lr", lr, 1), ("clip", clip, math.inf), ("decay", decay, 1)):
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value <= highest:
            raise ValueError(f"{name} must be a number in 0..{highest}, not {value!r:.60}")
    save_every, settings = check_count("save_every", save_every), dict(
        predicts=check_choice("predicts", predicts, PREDICTORS), T=schedule.T, beta=_fingerprint(schedule.beta),
        weighting=check_choice("weighting", weighting, ("simple", "bound")), steps=check_count("steps", steps),
        warmup=steps // 20 if warmup is None else check_count("warmup", warmup, 0, steps), batch=int(batch),
        lr=float(lr), clip=float(clip), decay=float(decay),
        seed=check_count("seed", seed, 0, 2**63 - 1), data="a function" if callable(data) else _fingerprint(data),
    ) | {f"network's {name}": f"{tuple(v.shape)} {v.dtype}" for name, v in network.state_dict().items()}
    path, saved = _load(checkpoint, settings)
    device, rank, share = accelerator.device, accelerator.process_index, batch // accelerator.num_processes
    mine, done = slice(rank * share, (rank + 1) * share), saved["step"] if saved else 0
    network.to(device)
    ema.to(device).eval().requires_grad_(False)
    optimizer = torch.optim.AdamW(network.parameters())
    generator = torch.Generator().manual_seed(seed)  # on the CPU: the same numbers in every process
    parts = {"network": network, "ema": ema, "optimizer": optimizer}
    if saved:
        generator.set_state(saved["generator"])
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    rows = None if callable(data) else data.to(device)
    draw = data if callable(data) else lambda n, generator: rows[torch.randint(len(rows), (n,), generator=generator)]
    def loop():
        shell = torch.nn.Module()  # accelerate marks and patches what it prepares: not the caller's network
        shell.network, shell.forward = network, lambda xt, t: network(xt, t)
        model = accelerator.prepare_model(shell).train()
        quiet = rank > 0 or not {"CI", "SMOKE"}.isdisjoint(os.environ) or None  # None: unless stderr is a terminal
        for step in tqdm(range(done + 1, steps + 1), "training", steps, initial=done, disable=quiet):
            x0 = check_tensor("what data draws", draw(batch, generator))
            if x0.shape[:1] != (batch,):
                raise ValueError(f"data must draw ({batch}, ...) when asked for {batch} samples, not {tuple(x0.shape)}")
            t = torch.randint(1, schedule.T + 1, (batch,), generator=generator)  # on the CPU, like the tables
            seeds = torch.randint(2**62, (2,), generator=generator).tolist()
            # Noise and dropout come from the device's generator, which is fast, and leave the caller's as it was.
            with torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
                torch.manual_seed(seeds[0])
                noise = torch.randn(x0.shape, dtype=x0.dtype, device=device)
                torch.manual_seed(seeds[1] + rank)
                losses = sample_losses(model, x0[mine].to(device), t[mine], noise[mine], schedule, predicts, weighting)
            optimizer.zero_grad()
            losses.mean().backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            losses = accelerator.gather(losses.detach())  # (batch,): the shares of all processes
            loss = losses.mean()
            if not (loss + norm).isfinite():
                bad = t[~losses.cpu().isfinite()].tolist() or t.tolist()
                raise FloatingPointError(f"step {step}: the loss is {loss:.4g} and its gradient's norm {norm:.4g}, for "
                                         f"t = {', '.join(map(str, sorted(set(bad))[:20]))}")
            rate = optimizer.param_groups[0]["lr"] = learning_rate(step, steps, lr, settings["warmup"])
            optimizer.step()
            ema.multi_avg_fn = get_ema_multi_avg_fn(min(decay, step / (step + 10)))
            ema.update_parameters(network)
            if path and (step % save_every == 0 or step == steps):
                if rank == 0:
                    states = {name: part.state_dict() for name, part in parts.items()}
                    _save(path, {"settings": settings, "step": step, "generator": generator.get_state(), **states})
                accelerator.wait_for_everyone()
            yield Step(step, float(loss), rate)
    return loop()


def sample_losses(denoiser, x0, t, noise, schedule, predicts="eps", weighting="simple"):
    """The loss of each sample, (B,): its squared error times a weight, a mean over dimensions.

    weight_t * (denoiser(xt, t) - target).square().mean(),  xt = q_sample(x0, t, schedule, noise=noise)
    Ho et al. 2020, Eq. 14 ("simple": weight_t = 1), Eq. 8 and 12 ("bound"); lecture 000, "Training".

    t: (B,). For "bound" the mean over t = 1..T is -ELBO in nats per dimension, up to a constant: weight_t is T times
    `loss_weight`, and at t = 1, where that is inf, the decoder's with variance β_1.
    """
    xt = q_sample(x0, t, schedule, noise=noise)
    target = posterior_mean_var(xt, x0, t, schedule)[0] if predicts == "mean" else {"eps": noise, "x0": x0}[predicts]
    losses = (ask(denoiser, xt, t) - target).square().reshape(len(x0), -1).mean(1)
    if weighting == "simple":
        return losses
    weight = torch.cat([loss_weight(predicts, schedule, "beta")[:2], loss_weight(predicts, schedule)[2:]])
    return (schedule.T * weight[t]).to(losses) * losses


def learning_rate(step, steps, lr, warmup):
    """The rate of step 1..steps, from the step alone: a straight rise to lr, then half a cosine that ends at 0."""
    if step <= warmup:
        return lr * step / warmup
    return lr * (1 + math.cos(math.pi * (step - 1 - warmup) / (steps - warmup))) / 2


def _check(network, ema, data, schedule, accelerator, batch):
    """The accelerator, or a new one, when all five fit together."""
    if not isinstance(network, torch.nn.Module) or not any(p.requires_grad for p in network.parameters()):
        raise ValueError(f"network must be a torch.nn.Module with weights to train, not {type(network).__name__}")
    if not isinstance(ema, AveragedModel) or ema.module is network or (
            [p.shape for p in ema.module.parameters()] != [p.shape for p in network.parameters()]):
        raise ValueError(f"ema must be torch.optim.swa_utils.AveragedModel(network), of this network, not {ema!r:.60}")
    time_index(1, schedule, ())  # refuses what is no Schedule
    if not callable(data) and not (check_tensor("data", data).ndim and len(data)):
        raise ValueError(f"data must hold at least one sample, (N, ...), not shape {tuple(data.shape)}")
    accelerator = Accelerator() if accelerator is None else accelerator
    precision = getattr(accelerator, "mixed_precision", accelerator)
    if precision not in ("no", "bf16"):
        raise ValueError(f"accelerator must be an Accelerator of mixed_precision 'no' or 'bf16', not {precision!r:.60}")
    if batch % accelerator.num_processes:
        raise ValueError(f"batch must be a multiple of the {accelerator.num_processes} processes, not {batch}")
    return accelerator


def _fingerprint(x):
    return f"{tuple(x.shape)} {x.dtype} {zlib.crc32(x.detach().cpu().contiguous().view(torch.uint8).numpy()):08x}"


def _load(checkpoint, settings):
    """The checkpoint's path, and what it holds if it exists: whole, and of these settings."""
    if checkpoint is None:
        return None, None
    if not isinstance(checkpoint, str | os.PathLike) or not (path := Path(checkpoint)).parent.is_dir():
        raise ValueError(f"checkpoint must be a path in a folder that exists, not {checkpoint!r}")
    if not path.exists():
        return path, None
    try:
        with zipfile.ZipFile(path) as archive:  # torch's files are zip archives, but torch does not check their sums
            if damaged := archive.testzip():
                raise ValueError(f"{damaged} has a wrong checksum")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        theirs = {**saved["settings"]}
        _ = [saved[name] for name in ("step", "generator", "network", "ema", "optimizer")]
    except Exception as error:
        raise ValueError(f"checkpoint {path} is damaged, or not a checkpoint of train: {error!r}") from error
    if differ := [f"{name} is {theirs.get(name)} there and {settings.get(name)} here"
                  for name in theirs | settings if theirs.get(name) != settings.get(name)]:
        raise ValueError(f"checkpoint {path} is of another training: {'; '.join(differ[:3])}")
    return path, saved


def _save(path, content):
    """Replaces the file at path in one go: whoever looks, at any moment, finds the old one or the new one, whole."""
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)


if __name__ == "__main__":
    from .labs import main
    main()
