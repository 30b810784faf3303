"""Answers to homework 1 as students write them: right in other ways than the solution, and wrong.

RIGHT[k] is a set of answers, question -> source of its cell. WRONG: question -> source, and what the feedback says.
"""

RIGHT = [
    {  # NumPy
        "q1": """
import numpy as np
def ve_jump(x, s, t, sigma, eps):
    x, s, t, sigma, eps = (np.asarray(a) for a in (x, s, t, sigma, eps))
    return x + np.sqrt(sigma[t] ** 2 - sigma[s] ** 2)[:, None] * eps""",
        "q2": """
import numpy as np
T, wanted = numbers["hw1.q2"]["T"], numbers["hw1.q2"]["alpha_bar_T"]
shape = 1 / (1 + np.exp(6 - 12 * np.arange(T) / (T - 1)))
low, high = 0.0, 1.0
for _ in range(60):
    middle = (low + high) / 2
    low, high = (middle, high) if np.prod(1 - middle * shape) > wanted else (low, middle)
b_q2 = np.array([middle])""",
        "q3": """
import numpy as np
def two_back(xt, x0, t, beta):
    xt, x0, t, beta = xt.numpy(), x0.numpy(), t.numpy(), beta.numpy()
    bar = np.cumprod(1 - beta)
    two = bar[t] / bar[t - 2]
    precision_free = 1 - bar[t]
    mean = np.sqrt(two) * (1 - bar[t - 2]) / precision_free * xt + np.sqrt(bar[t - 2]) * (1 - two) / precision_free * x0
    return np.stack([mean, (1 - bar[t - 2]) * (1 - two) / precision_free])""",
        "q4": """
import numpy as np
def from_v(xt, v, alpha_bar_t):
    xt, v, a = xt.numpy(), v.numpy(), alpha_bar_t.numpy()
    return [np.sqrt(a) * xt - np.sqrt(1 - a) * v, np.sqrt(1 - a) * xt + np.sqrt(a) * v]""",
        "q6": """
import numpy as np
def best_isotropic(cov):
    e = np.linalg.eigvalsh(cov.numpy())
    return np.array([e.mean(), (len(e) * np.log(e.mean()) - np.log(e).sum()) / 2])""",
        "q8": """
import numpy as np
beta, t, x0 = np.array(numbers["hw1.q8"]["beta"]), numbers["hw1.q8"]["t"], numbers["hw1.q8"]["x0"]
bar = np.cumprod(1 - beta)
w = np.sqrt(1 - beta[t]) * (1 - bar[t - 1]) * np.sqrt(bar[t]) - np.sqrt(bar[t - 1]) * beta[t]
pair_q8 = np.array([[w / np.sqrt(1 - bar[t]) * x0], [np.sqrt(bar[t - 1]) * x0]], dtype=np.float32)""",
    },
    {  # plain Python: loops, floats, lists
        "q1": """
import math
def ve_jump(x, s, t, sigma, eps):
    result = []
    for k in range(len(x)):
        variance = sum(float(sigma[i]) ** 2 - float(sigma[i - 1]) ** 2 for i in range(int(s[k]) + 1, int(t[k]) + 1))
        result.append([float(a) + math.sqrt(variance) * float(e) for a, e in zip(x[k], eps[k])])
    return result""",
        "q3": """
def two_back(xt, x0, t, beta):
    means, variances = [], []
    for k, tk in enumerate(t.tolist()):
        jump, two = 1.0, (1 - beta[tk].item()) * (1 - beta[tk - 1].item())
        for i in range(1, tk - 1):
            jump *= 1 - beta[i].item()
        if tk == 2:
            means.append(x0[k].item()); variances.append(0)
            continue
        precision = two / (1 - two) + 1 / (1 - jump)
        pull = two ** 0.5 * xt[k].item() / (1 - two) + jump ** 0.5 * x0[k].item() / (1 - jump)
        means.append(pull / precision); variances.append(1 / precision)
    return means, variances""",
        "q5": """
from ddpm_lesson import Schedule, mean_from_x0
def mean_from_v(xt, v, t, beta):
    schedule = Schedule(beta[1:])
    bar = schedule.alpha_bar[t]
    means = []
    for k in range(len(xt)):
        x0 = bar[k].sqrt() * xt[k] - (1 - bar[k]).sqrt() * v[k]
        means.append(mean_from_x0(xt[k:k + 1], x0[None], int(t[k]), schedule).item())
    return means""",
        "q6": """
import torch
class Best:
    def __call__(self, cov):
        s = sum(cov[i, i] for i in range(len(cov))) / len(cov)
        q = torch.distributions.MultivariateNormal(torch.zeros(len(cov)).double(), cov)
        p = torch.distributions.MultivariateNormal(torch.zeros(len(cov)).double(), s * torch.eye(len(cov)).double())
        return {"s": s, "kl": torch.distributions.kl_divergence(q, p)}.values()
best_isotropic = lambda cov: list(Best()(cov))""",
        "q7": """
def best_variance(t, beta, cov):
    eye, found = torch.eye(len(cov), dtype=cov.dtype), []
    for step in t:
        bar = torch.prod(1 - beta[: step])
        before = bar * cov + (1 - bar) * eye
        after = (1 - beta[step]) * before + beta[step] * eye
        cross = (1 - beta[step]) ** 0.5 * before
        found.append(torch.trace(before - cross @ torch.linalg.inv(after) @ cross) / len(cov))
    return found""",
        "q9": """
beta, t = numbers["hw1.q9"]["beta"], numbers["hw1.q9"]["t"]
total, right = 0.0, 0.0
for i in range(1, t + 1):
    left = beta[i]
    for j in range(i + 1, t + 1):
        left *= 1 - beta[j]
    total, right = total + left ** 0.5, right + left
pair_q9 = (f"{total ** 2:.6f}", f"{right:.6f}")
pair_q9 = [round(float(x), 4) for x in pair_q9]""",
    },
    {  # float32, in place, a gradient, other shapes, arguments by name, a decorator
        "q1": """
def ve_jump(x, s, t, sigma, eps):
    x += (sigma[t] ** 2 - sigma[s] ** 2).sqrt().unsqueeze(-1) * eps
    sigma.zero_()
    return x.requires_grad_()""",
        "q3": """
def two_back(xt, x0, t, beta):
    xt, x0, beta = xt.float(), x0.float(), beta.float()
    bar = (1 - beta).cumprod(0)
    two, near = bar[t] / bar[t - 2], bar[t - 2]
    mean = (two.sqrt() * (1 - near) * xt + near.sqrt() * (1 - two) * x0) / (1 - bar[t])
    return torch.stack([mean, (1 - near) * (1 - two) / (1 - bar[t])])[..., None]""",
        "q4": """
import functools
@functools.cache
def helper(): return 0.5
@torch.no_grad()
def from_v(alpha_bar_t, *, xt=None, v=None):
    pass
def from_v(xt, v, alpha_bar_t):
    a = alpha_bar_t.float()
    angle = torch.atan2((1 - a) ** helper(), a ** helper())
    return torch.cos(angle) * xt.float() - torch.sin(angle) * v.float(), angle.sin() * xt + angle.cos() * v""",
        "q7": """
def best_variance(t, beta, cov):
    bar = torch.cumprod(1 - beta, 0).numpy()
    import numpy
    out = numpy.empty((len(t), 1), numpy.float32)
    for row, k in enumerate(t.numpy()):
        V, V_prev = [a * cov.numpy() + (1 - a) * numpy.eye(len(cov)) for a in (bar[k], bar[k - 1])]
        out[row] = beta[k].item() * numpy.trace(numpy.linalg.solve(V, V_prev)) / len(cov)
    return out""",
        "q10": """
from fractions import Fraction
beta, t, c = numbers["hw1.q10"]["beta"], numbers["hw1.q10"]["t"], numbers["hw1.q10"]["c"]
bar = [1.0]
for b in beta[1:]:
    bar.append(bar[-1] * (1 - b))
V = [a * c + 1 - a for a in bar]
printed = (1 - beta[t]) * V[t - 1] ** 2 / V[t] + (beta[t] * V[t - 1] / V[t]) ** 2
pair_q10 = Fraction(printed).limit_denominator(10**6), Fraction(V[t - 1]).limit_denominator(10**6)
pair_q10 = [float(x) for x in pair_q10]""",
    },
]

WRONG = {
    "q1": ("def ve_jump(x, s, t, sigma, eps):\n    return x + (sigma[t] - sigma[s])[:, None] * eps",
           "Standard deviations do not subtract. Which quantity does?"),
    "q2": ("b_q2 = 0.123456", None),
    "q3": ("def two_back(xt, x0, t, beta):\n    return xt, x0", None),
    "q4": ("def from_v(xt, v, alpha_bar_t):\n    return v, xt", None),
    "q5": ("def mean_from_v(xt, v, t, beta):\n    return xt[0]",
           "The answer does not have the shape that the question asks for."),
    "q6": ("def best_isotropic(cov):\n    return 'one', 'two'", "The answer is not made of numbers."),
    "q7": ("def best_variance(t, beta, cov):\n    return None", "The answer is None: is a line missing?"),
    "q8": ("pair_q8 = float('nan'), float('nan')", None),
    "q9": ("pair_q9 = 0, 0", None),
    "q10": ("pair_q10 = ...", "Not answered."),
}
