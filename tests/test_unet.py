"""The UNet of Lab 2 against its own blocks by recursion, blocks by hand, and what a denoiser must not do.

Sabotage of unet.py that turned this file red: see each test's docstring.
"""

import copy

import pytest
import torch
from torch.nn.functional import conv2d, pad
from torch.testing import assert_close

from ddpm_lesson import cosine_schedule, sample, simple_loss
from ddpm_lesson.models import UNet
from ddpm_lesson.models.unet import Block, Look

SMALL = dict(widths=(8, 16, 24), heads=2)


def lively(dtype=torch.float64, size=(8, 12), batch=3, **settings):
    """A network in which nothing is 0 any more, as after training, and a batch for it."""
    torch.manual_seed(0)
    net = UNet(**SMALL | settings)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn(p.shape)
    return net.to(dtype), torch.randn(batch, net.channels, *size, dtype=dtype), torch.arange(1, batch + 1) * 333


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels, size, widths", [
    (1, (28, 28), (8, 16, 24)), (1, (8, 8), (8, 16, 24)), (3, (32, 32), (8, 8, 8, 8)), (1, (12, 20), (16, 8)),
    (2, (5, 7), (8,)),
])
def test_shape(channels, size, widths, batch):
    """Broken: squeeze() before the return; sizes fixed at 28; a skip joined at the wrong resolution."""
    net, x, t = lively(torch.float32, size, batch, channels=channels, widths=widths)
    eps_hat = net(x, t)
    assert eps_hat.shape == x.shape and eps_hat.dtype == x.dtype and eps_hat.isfinite().all()


@pytest.mark.parametrize("blocks", [1, 2])
def test_levels_and_skips(blocks):
    """A UNet is a UNet inside a UNet: each level keeps its skip, asks the level below, and joins the two.

    Broken: skips popped from the wrong end of levels of equal width; the middle left out; doubled by tiling the image;
    the time given to the way down only.
    """
    net, x, t = lively(blocks=blocks, widths=(8, 8, 8))
    w = 10000.0 ** (-torch.arange(4) / 4)
    c = net.time(torch.cat([(t[:, None] * w).cos(), (t[:, None] * w).sin()], 1).double())

    def level(k, h):
        for block in net.down[k]:
            h = block(h, c)
        if k < 2:
            below = level(k + 1, net.halve[k](h)).repeat_interleave(2, 2).repeat_interleave(2, 3)
        else:
            below = net.middle[2](net.middle[1](net.middle[0](h, c), c), c)
        h = torch.cat([below, h], 1)
        for block in net.up[2 - k]:
            h = block(h, c)
        return h

    h = net.norm(level(0, net.stem(x)))
    assert_close(net(x, t), net.head(h * h.sigmoid()))


def group_norm(h, groups=8):
    """(h - mean) / std, over the channels of a group and all pixels."""
    rows = h.reshape(len(h), groups, -1)
    rows = (rows - rows.mean(2, keepdim=True)) / (rows.var(2, correction=0, keepdim=True) + 1e-5).sqrt()
    return rows.reshape(h.shape)


def swish(x):
    return x / (1 + (-x).exp())


@pytest.mark.parametrize("inside, out", [(16, 8), (8, 8)])
def test_block(inside, out):
    """Broken: no scale; scale and shift exchanged; the skip left out; the second norm before the modulation's conv."""
    torch.manual_seed(1)
    block = Block(inside, out, 5).double()
    for p in block.parameters():
        p.data = torch.randn(p.shape).double()
    h, c = torch.randn(2, inside, 4, 6).double(), torch.randn(2, 5).double()
    by = block.norm.weight[:, None, None], block.norm.bias[:, None, None]
    new = conv2d(pad(swish(group_norm(h) * by[0] + by[1]), [1] * 4), block.conv.weight, block.conv.bias)
    told = c @ block.modulation.weight.mT + block.modulation.bias  # (2, 2 * out)
    new = group_norm(new) * (1 + told[:, out:, None, None]) + told[:, :out, None, None]
    new = conv2d(pad(swish(new), [1] * 4), block.conv_2.weight, block.conv_2.bias)
    kept = h if inside == out else torch.einsum("oi,bihw->bohw", block.skip.weight[..., 0, 0], h) \
        + block.skip.bias[:, None, None]
    assert_close(block(h, c), kept + new)


def test_attention_over_pixels():
    """Each pixel gathers from all, whatever their order: moving the pixels moves the answer.

    Broken: attention over the channels; pixels put back transposed (H and W differ here).
    """
    torch.manual_seed(2)
    look, h = Look(8, 2).double(), torch.randn(2, 8, 2, 3).double()
    tokens = look.norm(h).flatten(2).transpose(1, 2)  # (2, 6, 8)
    q, k, v = (tokens @ w.mT for w in look.attention.qkv.weight.split(8))
    heads = [((q[..., s] @ k[..., s].mT / 2).softmax(-1) @ v[..., s]) for s in (slice(0, 4), slice(4, 8))]
    gathered = torch.cat(heads, -1) @ look.attention.out.weight.mT + look.attention.out.bias
    assert_close(look(h, None), h + gathered.transpose(1, 2).reshape(2, 8, 2, 3))


def test_untrained_it_predicts_zero_and_every_weight_learns():
    """Broken: the head or a block's last layer not at zero; a layer that nobody calls."""
    torch.manual_seed(0)
    net = UNet(**SMALL)
    assert not net(torch.randn(2, 1, 8, 8), torch.tensor([1, 1000])).any()
    net, x, t = lively()
    net(x, t).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_an_image_knows_its_time_and_not_its_batch():
    """Broken: batch norm; t of the first image for all; the time left out."""
    net, x, t = lively()
    together = net(x, t)
    assert_close(together, torch.cat([net(x[i:i + 1], t[i:i + 1]) for i in range(3)]))
    assert (net(x, t + 1) - together).abs().amax((1, 2, 3)).min() > 1e-4


def test_every_pixel_sees_every_pixel():
    net, x, t = lively(batch=1)
    x.requires_grad_()
    net(x, t)[0, 0, 0, 0].backward()
    assert (x.grad != 0).all()


def test_same_answer_in_channels_last_and_compiled():
    """One graph without a break, for `torch.compile`; the order of the numbers in memory changes no number."""
    net, x, t = lively()
    answer = net(x, t)
    last = copy.deepcopy(net).to(memory_format=torch.channels_last)
    assert_close(last(x.to(memory_format=torch.channels_last), t), answer)
    assert_close(torch.compile(net, backend="eager", fullgraph=True)(x, t), answer)


def test_runs_on_another_device():
    """Broken: a table of times, or of anything, made on the CPU."""
    net, x, t = lively(torch.float32)
    assert net.to("meta")(x.to("meta"), t.to("meta")).device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_samples_and_loss(dtype):
    net, x, _ = lively(dtype, batch=7)
    assert simple_loss(net, x, cosine_schedule(20)).isfinite()
    x0 = sample(net, cosine_schedule(20), xT=x, steps=3)
    assert x0.shape == x.shape and x0.dtype == dtype and x0.isfinite().all()


def test_learns_a_few_images():
    """Twelve fixed images: after 200 steps the error is a fraction of what predicting 0 gets."""
    torch.manual_seed(0)
    net, x0, g = UNet(widths=(16, 32)), torch.randn(12, 1, 8, 8).sign(), torch.Generator().manual_seed(0)
    optimizer, losses = torch.optim.AdamW(net.parameters(), lr=4e-3), []
    for _ in range(200):
        loss = simple_loss(net, x0, cosine_schedule(100), generator=g)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.8 and sum(losses[-20:]) / 20 < 0.4, (losses[0], sum(losses[-20:]) / 20)


@pytest.mark.parametrize("settings, message", [
    (dict(channels=0), "channels must be an int >= 1"),
    (dict(widths=()), "widths must be one or more multiples of 8"),
    (dict(widths=(8, 12)), r"widths must be one or more multiples of 8, not \(8, 12\)"),
    (dict(widths=(8.0,)), "widths must be an int"),
    (dict(blocks=0), "blocks must be an int >= 1"),
    (dict(heads=5), r"heads must divide widths\[-1\] = 24, and 5 does not"),
])
def test_wrong_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        UNet(**SMALL | settings)


@pytest.mark.parametrize("shape, t_shape, message", [
    ((2, 1, 10, 8), (2,), r"H and W multiples of 4, not \(2, 1, 10, 8\)"),
    ((2, 3, 8, 8), (2,), r"xt must have shape \(B, 1, H, W\)"),
    ((2, 8, 8), (2,), r"xt must have shape \(B, 1, H, W\)"),
    ((2, 1, 8, 8), (), r"t must have shape \(2,\), one time per image, not \(\)"),
    ((2, 1, 8, 8), (1,), r"t must have shape \(2,\)"),
])
def test_wrong_input(shape, t_shape, message):
    net, _, _ = lively(torch.float32)
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(shape), torch.ones(t_shape, dtype=torch.int64))
