"""How good are the samples, and how much of a number is the measure's own noise? Every measure has a floor.

The floor is the measure between two random halves of real data: what samples that are as good as real would get.
"""

import functools
import math
from typing import NamedTuple

import torch

from .elbo import _log_normal, _prepare
from .forward import q_sample
from .gaussians import kl_gaussian
from .inputs import ask, check_count, check_generator, check_tensor, time_index
from .mixture import exact
from .posterior import posterior_mean_var
from .predictors import predict_mean


def frechet_distance(features_a, features_b):
    """The Fréchet distance between the Gaussians of the same mean m and covariance C as two sets of features, a float.

    |m_a - m_b|**2 + tr(C_a + C_b - 2 (C_a C_b)**(1/2))
    Heusel et al. 2017, Eq. 6; Dowson and Landau 1982.

    features: (N, d) and (M, d), N, M >= 2; C divides by N - 1, and may be singular. It is a squared distance, in the
    square of the features' unit. It shrinks towards its limit as N and M grow: compare at equal counts only.
    """
    a, b = _rows(2, features_a=features_a, features_b=features_b)
    # With C = R^T R the trace of (C_a C_b)^(1/2) is the sum of R_a R_b^T's singular values: no root of a rounded 0.
    R_a, R_b = (torch.linalg.qr((x - x.mean(0)) / (len(x) - 1) ** 0.5, mode="r").R for x in (a, b))  # (<= d, d) each
    trace = R_a.square().sum() + R_b.square().sum() - 2 * torch.linalg.svdvals(R_a @ R_b.mT).sum()
    return ((a.mean(0) - b.mean(0)).square().sum() + trace).item()


def precision_recall(features_real, features_fake, k=3):
    """Precision (the share of fake samples that lie among the real ones) and recall (the reverse), two floats in 0..1.

    precision = mean over fakes of [some real r has |fake - r| <= radius_r];  radius_r = distance to r's k-th neighbour
    Kynkäänniemi et al. 2019, Eq. 1-2.

    features: (N, d) and (M, d), more than k each; distances are Euclidean, a sample is no neighbour of itself. The
    edge of a ball belongs to it. Two halves of the same data do not get 1: see their floor.
    """
    real, fake = _rows(check_count("k", k) + 1, features_real=features_real, features_fake=features_fake)
    return _share_within(fake, real, k), _share_within(real, fake, k)


def nearest_neighbours(samples, training):
    """For each sample its distance to the nearest training image (B,), float64, and that image's index (B,).

    distance[b] = min_i |samples[b] - training[i]|, Euclidean

    samples: (B, ...), training: (N, ...), pixels or features. A copy has distance 0; the floor is what new images get.
    """
    from sklearn.neighbors import NearestNeighbors

    rows, known = _rows(1, torch.float32, samples=samples, training=training)
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(known.numpy())
    index = torch.from_numpy(search.kneighbors(rows.numpy(), return_distance=False)[:, 0])
    return (rows.double() - known[index].double()).norm(dim=1), index  # measured again: the search rounds a copy's 0


def read_classes(logits):
    """The share of samples read as each class, (K,), and the probability given to the class that is read, (N,).

    shares = logits.argmax(1).bincount(minlength=K) / N;  confidence = logits.softmax(1).amax(1)

    logits: (N, K); both results are float64. A high confidence says that a sample looks like one class and not like
    another, not that it looks like a digit. MNIST's training images have shares of 0.090 to 0.112.
    """
    (logits,) = _rows(1, logits=logits)
    return logits.argmax(1).bincount(minlength=logits.shape[1]).double() / len(logits), logits.softmax(1).amax(1)


def over_repeats(measure, real, fake=None, *, n, repeats=5, generator=None):
    """Mean and standard deviation of a measure over random subsets of n samples: its floor, or a model's score.

    floor: measure(real[first], real[second]), two disjoint subsets;  score: measure(real[subset], fake[subset])

    measure: a function of two sets of rows that gives a float or several (the results then have one entry for each);
    real: (N, ...), N >= 2n for a floor, N >= n else; fake: (M, ...), M >= n. Returns two float64 tensors. Subsets of
    different repeats may share rows: where n is not far below N or M the deviation comes out too small.
    """
    n, repeats, values = check_count("n", n), check_count("repeats", repeats, 2), []
    sets = {"real": real} if fake is None else {"real": real, "fake": fake}
    needed, device = 2 * n // len(sets), "cpu" if check_generator(generator) is None else generator.device
    for name, x in sets.items():
        if not check_tensor(name, x).ndim or len(x) < needed:
            raise ValueError(f"{name} must hold at least {needed} rows for n = {n}, not shape {tuple(x.shape)}")
    for _ in range(repeats):
        drawn = [x[torch.randperm(len(x), generator=generator, device=device).to(x.device)[:needed]].split(n)
                 for x in sets.values()]
        values.append(measure(*sum(drawn, ())))
    values = torch.tensor(values, dtype=torch.float64)  # (repeats,) or (repeats, how many numbers)
    return values.mean(0), values.std(0)


class Bound(NamedTuple):
    """-ELBO in bits per dimension: total = L_T + sum of L_t (T+1,) + L_0, and the total's standard error."""
    L_T: float
    L_t: torch.Tensor
    L_0: float
    total: float
    error: float


@torch.no_grad()
def bound_by_t(denoiser, x0, schedule, *, sigma="posterior", decoder_var=None, predicts="eps", levels=256, strata=20,
               batch=500, generator=None):
    """An unbiased estimate of the mean of `elbo_terms` over x0, a Bound in bits per dimension, from a few t per image.

    L_t[t] = mean of KL(q(x_{s-1} | x_s, x_0) || p(x_{s-1} | x_s)) over images, and over s drawn from t's stratum
    Ho et al. 2020, Eq. 5 and 13; lecture 000, Eq. 46-58.

    x0: (N, ...), N >= 2. The steps 2..T are cut into strata (T - 1 at most), short where t is small and the terms are
    large, and each image draws one s from each. So an entry of L_t is its stratum's average, and their sum is right.
    L_0 is `decoder_nats` for this many levels of the pixels, and the total a bound on a discrete image's code length;
    levels=None takes the density of `elbo_terms` instead, which may be negative. decoder_var is β_1 by default. The
    network gets x0's dtype, all else is float64. error counts the choice of the images and of the noise.
    """
    decoder_var = _prepare(x0, schedule, sigma, decoder_var, predicts, 1)[0]
    if len(x0) < 2 or not x0[0].numel():
        raise ValueError(f"x0 must hold at least 2 samples, as one has no error, not shape {tuple(x0.shape)}")
    decoder_nats(x0, x0, 1.0, levels)  # a pixel off the levels is reported before anything is drawn
    device, sigma_var = "cpu" if check_generator(generator) is None else generator.device, schedule.sigma(sigma) ** 2
    edges, parts = _edges(schedule.T, check_count("strata", strata)), []  # 1, 2, .., T + 1: t = 1 is a stratum too

    def cast(xt, t):
        return ask(denoiser, xt.to(x0), t).to(xt)

    for rows in exact(x0).split(check_count("batch", batch)):
        terms = [schedule.terminal_kl(rows)]
        for low, high in zip(edges[:-1], edges[1:], strict=True):
            t = torch.randint(low, high, (len(rows),), generator=generator, device=device)
            xt = q_sample(rows, t, schedule, generator=generator)
            mean_hat, index = predict_mean(cast, xt, t, schedule, predicts), time_index(t, schedule, xt.shape)
            terms.append(decoder_nats(rows, mean_hat, decoder_var.item(), levels) if low == 1 else kl_gaussian(
                *posterior_mean_var(xt, rows, t, schedule), mean_hat, sigma_var[index].to(xt)))
        parts.append(torch.stack(terms).cpu().double())
    bits, widths = torch.cat(parts, 1) / (x0[0].numel() * math.log(2)), torch.tensor(edges).diff()  # (1 + strata, N)
    totals, L_t = bits[0] + widths.double() @ bits[1:], bits[2:].mean(1).repeat_interleave(widths[1:])
    return Bound(bits[0].mean().item(), torch.cat([bits.new_zeros(2), L_t]), bits[1].mean().item(),
                 totals.mean().item(), totals.std().item() / len(totals) ** 0.5)


def decoder_nats(x0, mean, var, levels=256):
    """-log P(x0) in nats, (B,), float64, for pixels that can only be one of some levels: Ho et al.'s decoder.

    P(x) = Phi((x + h - mean) / var.sqrt()) - Phi((x - h - mean) / var.sqrt()), h = 1 / (levels - 1)
    Ho et al. 2020, Eq. 13: -1 takes all that lies below it, and 1 all above, so that the levels' P sum to 1.

    x0, mean: (B, ...), x0 on the levels -1, -1 + 2h, .., 1 (ValueError elsewhere); var: a number > 0. levels=None gives
    the density, -log N(x0; mean, var I): less by log(1 / 2h) per value, 6.99 bits for 256 levels, if var is large.
    """
    x, mean = exact(check_tensor("x0", x0)), exact(check_tensor("mean", mean))
    if not x.ndim or mean.shape != x.shape:
        raise ValueError(f"mean must have x0's shape (B, ...), not {tuple(mean.shape)} for {tuple(x.shape)}")
    if isinstance(var, bool) or not isinstance(var, int | float) or not 0 < var < math.inf:
        raise ValueError(f"var must be a finite number > 0, not {var!r:.60}")
    if levels is None:
        return -_log_normal(x, mean, x.new_tensor(var))
    steps = check_count("levels", levels, 2) - 1
    level = ((x + 1) / 2 * steps).round().clamp(0, steps)
    off = x[(level / steps * 2 - 1 - x).abs() > 1e-3 / steps]  # float32 rounds by far less, bfloat16 by more
    if len(off):
        raise ValueError(f"x0 must lie on the {levels} levels -1, -1 + 1/{steps / 2:g}, .., 1, not at {off[0]:.6g}")
    below = torch.where(level == 0, -math.inf, (x - 1 / steps - mean) / var**0.5)
    above = torch.where(level == steps, math.inf, (x + 1 / steps - mean) / var**0.5)
    flip = below + above > 0  # both ends in the left tail, where Phi keeps its digits
    below, above = torch.where(flip, -above, below), torch.where(flip, -below, above)
    log_above, log_below = torch.special.log_ndtr(above), torch.special.log_ndtr(below)
    return -(log_above + torch.log(-torch.expm1(log_below - log_above))).reshape(len(x), -1).sum(1)


def _edges(T, strata):
    """1, 2, .., T + 1: where the strata begin, and the end. From 2 on they grow by about the same factor."""
    edges = [1, 2]
    for left in range(min(strata, T - 1), 0, -1):
        edges.append(max(edges[-1] + 1, round(edges[-1] * ((T + 1) / edges[-1]) ** (1 / left))))
    return edges


def _share_within(points, centres, k):
    """The share of points that lie in the ball of any centre, out to its k-th neighbour among the centres."""
    distances = functools.partial(torch.cdist, x2=centres, compute_mode="donot_use_mm_for_euclid_dist")  # equals: 0
    radius = torch.cat([distances(rows).kthvalue(k + 1).values for rows in centres.split(1000)])  # the first: itself
    return torch.cat([(distances(rows) <= radius).any(1) for rows in points.split(1000)]).double().mean().item()


def _rows(lowest, dtype=torch.float64, **sets):
    """The named sets on the CPU, checked and flattened to (N, d) with N >= lowest and the same d."""
    shapes = {name: tuple(check_tensor(name, x).shape) for name, x in sets.items()}
    for name, shape in shapes.items():
        if len(shape) < 2 or shape[0] < lowest or not math.prod(shape):
            raise ValueError(f"{name} must have shape (N, d) or (N, C, H, W) with N >= {lowest}, not {shape}")
    if len({shape[1:] for shape in shapes.values()}) > 1:
        raise ValueError(f"{' and '.join(shapes)} must have the same shape but for N, not {shapes}")
    return [x.detach().cpu().to(dtype).flatten(1) for x in sets.values()]
