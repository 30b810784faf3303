"""The Transformer of Lab 1 against attention written out by hand, and against what a denoiser must and must not see.

Sabotage of transformer.py that turned this file red: see each test's docstring.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

from ddpm_lesson import TwoBumps, cosine_schedule, sample, simple_loss
from ddpm_lesson.models import Transformer
from ddpm_lesson.models.transformer import Attention, waves

SMALL = dict(n=12, patch=3, width=16, depth=2, heads=2)  # 4 tokens


def network(seed=0, **settings):
    torch.manual_seed(seed)
    return Transformer(**SMALL | settings)


def lively(dtype=torch.float64, **settings):
    """A network in which nothing is 0 any more, as after training, and a batch for it."""
    net = network(**settings)
    with torch.no_grad():
        for p in net.parameters():
            p += 0.3 * torch.randn(p.shape)
    return net.to(dtype), torch.randn(5, net.n, dtype=dtype), torch.tensor([1, 2, 75, 149, 150])


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("n, patch", [(100, 10), (100, 5), (100, 100), (12, 1), (21, 7), (1, 1)])
def test_shape(n, patch, batch):
    """Broken: squeeze() before the return; 100 // 10 tokens for every n."""
    net, _, _ = lively(torch.float32, n=n, patch=patch)
    x = torch.randn(batch, n)
    eps_hat = net(x, torch.randint(1, 151, (batch,)))
    assert eps_hat.shape == x.shape and eps_hat.dtype == x.dtype and eps_hat.isfinite().all()


def test_patches_lie_in_order():
    """A network that only embeds and reads back, without a bias or a position, gives the signal itself.

    Broken: the patches of xt taken every n / patch points; the output flattened from the transposed tokens.
    """
    net, x, t = lively()
    net.blocks, net.norm = torch.nn.ModuleList(), torch.nn.Identity()
    with torch.no_grad():
        for p in (net.position, net.embed.bias, *net.modulation.parameters(), net.head.bias):
            p.zero_()
        net.head.weight.copy_(torch.linalg.pinv(net.embed.weight))
    assert_close(net(x, t), x)


@pytest.mark.parametrize("wrong, message", [
    (dict(n=100, patch=7), "patch must divide n = 100 into whole patches, and 7 does not"),
    (dict(n=5, patch=10), "patch must divide n = 5"),
    (dict(n=0), "n must be an int >= 1, not 0"),
    (dict(patch=0), "patch must be an int >= 1, not 0"),
    (dict(patch=2.0), "patch must be an int >= 1, not float 2.0"),
    (dict(depth=0), "depth must be an int >= 1, not 0"),
    (dict(heads=0), "heads must be an int >= 1, not 0"),
    (dict(width=16, heads=3), "width must be a multiple of 2 * heads = 6, not 16"),
    (dict(width=True), "width must be an int >= 1, not bool True"),
])
def test_wrong_settings(wrong, message):
    """Broken: each check taken out."""
    with pytest.raises(ValueError) as error:
        Transformer(**SMALL | wrong)
    assert message in str(error.value)


@pytest.mark.parametrize("x, t", [((3, 11), (3,)), ((12,), (12,)), ((3, 1, 12), (3,)), ((3, 12), (1,)), ((3, 12), ()),
                                  ((3, 12), (3, 1))])
def test_wrong_shapes(x, t):
    """Broken: the check taken out, or either half of it; a t of shape (1,) would broadcast and pass."""
    with pytest.raises(ValueError, match=r"xt must have shape \(B, 12\) and t \(B,\), not "):
        network()(torch.zeros(x), torch.ones(t, dtype=torch.int64))


def test_starts_at_zero():
    """Broken: the head not zeroed. And the blocks start as the identity: their gates not zeroed."""
    net, x, t = network(), torch.randn(3, 12), torch.tensor([1, 80, 150])
    assert (net(x, t) == 0).all()
    h = torch.randn(3, 4, 16)
    assert torch.equal(net.blocks[0](h, torch.randn(3, 1, 16)), h)


def test_rows_do_not_see_each_other():
    """Broken: attention over the batch; statistics over the batch; the first row's t for all; rows flipped."""
    net, x, t = lively()
    out = net(x, t)
    for row in range(len(x)):
        assert_close(net(x[row : row + 1], t[row : row + 1])[0], out[row])
    order = torch.tensor([3, 1, 4, 0, 2])
    assert_close(net(x[order], t[order]), out[order])
    x[1:] = 1e6
    assert_close(net(x, t)[0], out[0])


def test_t_conditions_every_step():
    """Broken: c set to 0; t halved as an int; t counted in the network's bfloat16, which skips odd steps past 256."""
    net, x, _ = lively(torch.float64)
    out = net(x[:1].expand(1000, -1), torch.arange(1, 1001)).detach()
    gaps = torch.cdist(out, out) + torch.eye(1000)
    assert gaps.min() > 1e-3 * out.std()
    half = copy.deepcopy(net).bfloat16()
    t = torch.arange(256, 300)
    wave = waves(t, 16).bfloat16()
    assert (torch.cdist(wave.float(), wave.float()) + torch.eye(len(t))).min() > 0.1
    close = half(x[:1].expand(len(t), -1).bfloat16(), t).double()
    assert_close(close, out[255:299], atol=0.15 * float(out.std()), rtol=0)


def test_t_reaches_each_block_and_the_head():
    """Broken: the head's modulation dropped; a block's scale, shift or gate, of either half, dropped."""
    net, x, t = lively()
    layers = [net.modulation, *(block.modulation for block in net.blocks)]
    for layer, pieces in zip(layers, (2, 6, 6), strict=True):
        for piece in range(pieces):
            other = copy.deepcopy(net)
            rows = slice(16 * piece, 16 * (piece + 1))
            dict(other.named_modules())[next(k for k, m in net.named_modules() if m is layer)].weight.data[rows] = 0
            assert (other(x, t) - net(x, t)).abs().amax(1).min() > 1e-3


def test_waves():
    """Broken: sines alone; 100 for 10000; a frequency per number in place of per pair."""
    t, width = np.array([1, 2, 150, 1000]), 16
    w = [1 / 10000 ** (2 * i / width) for i in range(width // 2)]
    expected = [[f(s * v) for f in (math.cos, math.sin) for v in w] for s in t]
    assert_close(waves(torch.from_numpy(t), width), torch.tensor(expected), atol=1e-4, rtol=0)


def test_attention_by_hand():
    """One query at a time, in numpy. Broken: softmax over the queries; no root of d; width for d; q and k exchanged;
    heads cut across instead of along; out forgotten; a causal mask."""
    torch.manual_seed(1)
    attention, h = Attention(12, 3).double(), 2 * torch.randn(2, 5, 12, dtype=torch.float64)
    with torch.no_grad():
        attention.qkv.weight.mul_(3)
    W, (V, b), d = attention.qkv.weight.detach().numpy(), (p.detach().numpy() for p in attention.out.parameters()), 4
    expected = np.zeros((2, 5, 12))
    for row, x in enumerate(h.numpy()):
        for head in range(3):
            W_q, W_k, W_v = (W[12 * part + d * head : 12 * part + d * (head + 1)] for part in range(3))
            for query in range(5):
                score = np.array([(W_q @ x[query]) @ (W_k @ x[key]) / math.sqrt(d) for key in range(5)])
                p = np.exp(score) / np.exp(score).sum()
                expected[row, query, d * head : d * (head + 1)] = sum(p[key] * (W_v @ x[key]) for key in range(5))
    assert_close(attention(h), torch.from_numpy(expected @ V.T + b))


def test_attention_is_normalised_over_the_keys():
    """What all tokens agree on comes out as it was. Broken: softmax over the queries, the public lab's axis."""
    attention, h = Attention(8, 2), 3 * torch.randn(2, 6, 8)
    h[..., 0] = 1
    with torch.no_grad():
        attention.out.weight.copy_(torch.eye(8))
        attention.out.bias.zero_()
        attention.qkv.weight[16:] = torch.eye(8)[0]  # v is each token's first number, 1
    assert_close(attention(h), torch.ones(2, 6, 8))


def test_every_patch_reaches_every_output():
    """Broken: attention left out; a causal mask; attention over the heads instead of the tokens."""
    net, x, t = lively(depth=1)
    out = net(x, t)
    for i in range(0, 12, 3):
        changed = x.clone()
        changed[:, i : i + 3] += 1
        assert ((net(changed, t) - out).abs() > 1e-9).all()


def test_positions_matter():
    """Broken: positions not added. Without them the network cannot know where a patch lies, and only then."""
    net, x, t = lively()

    def swapped(x):
        return x.unflatten(1, (4, 3)).flip(1).flatten(1)

    assert (net(swapped(x), t) - swapped(net(x, t))).abs().max() > 1e-2
    net.position.data.zero_()
    assert_close(net(swapped(x), t), swapped(net(x, t)))


def test_each_part_reads_normalised_tokens():
    """Tokens three times as large say the same. Broken: the norm dropped before either half, or the head."""
    net, x, t = lively()
    block, h, c = net.blocks[0], torch.randn(3, 4, 16).double(), torch.randn(3, 1, 16).double()
    for half in (2, 5):  # of the six pieces, the gates: each is closed in turn
        other = copy.deepcopy(block)
        for p in other.modulation.parameters():
            p.data[16 * half : 16 * (half + 1)] = 0
        assert_close(other(3 * h + 2, c) - (3 * h + 2), other(h, c) - h, atol=1e-3, rtol=1e-3)
    net.blocks = torch.nn.ModuleList()
    out = net(x, t)
    for p in (net.position, *net.embed.parameters()):
        p.data *= 3
    assert_close(net(x, t), out, atol=1e-3, rtol=1e-3)


def test_gradient_reaches_every_number():
    """And it is the slope: a small step along it changes the loss as it says.

    Broken: a bias for the keys, whose gradient is 0; the last block skipped; a detach() of the output, or of c alone.
    """
    net, x, t = lively()
    net(x, t).square().mean().backward()
    for name, p in net.named_parameters():
        assert (p.grad.abs() > 1e-12).all(), name
    step = 1e-6 / sum(p.grad.square().sum() for p in net.parameters()).sqrt()
    with torch.no_grad():
        losses = []
        for size in (step, -2 * step):
            for p in net.parameters():
                p += size * p.grad
            losses.append(net(x, t).square().mean())
    assert_close((losses[0] - losses[1]) / (2 * step), (1e-6 / step) ** 2, rtol=1e-4, atol=0)


def test_seed_decides_the_network_and_nothing_is_drawn_later():
    """Broken: positions from a generator of their own, seeded alike or anew; dropout, in training or in sampling."""
    nets = [network(seed) for seed in (3, 3, 4)]
    for a, b, c in zip(*(net.parameters() for net in nets), strict=True):
        assert torch.equal(a, b) and ((a == 0).all() or not torch.equal(a, c))
    net, x, t = lively()
    state = torch.get_rng_state()
    assert torch.equal(net.train()(x, t), net.eval()(x, t))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("dtype, atol", [(torch.float32, 1e-5), (torch.bfloat16, 0.15)])
def test_other_dtypes(dtype, atol):
    """Against float64, in units of the output. Broken: time features left in float32."""
    net, x, t = lively()
    exact = net(x, t).detach()
    out = net.to(dtype)(x.to(dtype), t)
    assert out.dtype == dtype
    assert_close(out.double(), exact, atol=atol * float(exact.std()), rtol=0)


def test_any_device():
    """The meta device stands for all others. Broken: time features made on the CPU."""
    net = network().to("meta")
    out = net(torch.zeros(2, 12, device="meta"), torch.ones(2, dtype=torch.int64, device="meta"))
    assert out.device.type == "meta" and out.shape == (2, 12)


def test_copies():
    """Broken: positions kept outside the state dict."""
    net, x, t = lively(torch.float32)
    other = network(seed=9)
    other.load_state_dict(net.state_dict())
    for twin in (other, copy.deepcopy(net), AveragedModel(net)):
        assert torch.equal(twin(x, t), net(x, t))


def test_learns_and_samples():
    """In 80 small steps the loss falls to less than half of 1, what predicting 0 costs. Broken: eps_hat detached."""
    data, schedule, net = TwoBumps(20), cosine_schedule(50), network(n=20, patch=5, width=32, heads=4)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=5e-3)
    for _ in range(80):
        loss = simple_loss(net, data.sample(128, generator), schedule, generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.45
    x0 = sample(net, schedule, (1, 20), generator=generator)
    assert x0.shape == (1, 20) and x0.isfinite().all()
