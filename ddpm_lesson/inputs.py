"""What every public function asks of its arguments: one check each, one clear message each.

A wrong argument raises `ValueError` with the argument's name, its value and what is allowed.
"""

import operator

import torch


def check_tensor(name, x):
    """x, checked to be a floating-point tensor of finite values."""
    if not torch.is_tensor(x) or not x.is_floating_point():
        found = f"a tensor of {x.dtype}" if torch.is_tensor(x) else f"{type(x).__name__} {x!r:.60}"
        hint = "; scale integer images to [-1, 1] first" if torch.is_tensor(x) else ""
        raise ValueError(f"{name} must be a floating-point torch tensor, not {found}{hint}")
    if not x.is_meta and not x.isfinite().all():
        raise ValueError(f"{name} must be finite: it holds nan or inf in {int((~x.isfinite()).sum())} of its values")
    return x


def check_shapes(**tensors):
    """The common shape of the named tensors, which must broadcast against each other."""
    try:
        return torch.broadcast_shapes(*(x.shape for x in tensors.values()))
    except RuntimeError:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in tensors.items())
        raise ValueError(f"the shapes of {shapes} do not broadcast against each other") from None


def check_pair(t, schedule, **pair):
    """For two named tensors that belong together: t as a `time_index`, and an empty tensor typed like their result."""
    a, b = (check_tensor(name, x) for name, x in pair.items())
    return time_index(t, schedule, check_shapes(**pair)), a.new_empty(0, dtype=torch.result_type(a, b))


def check_choice(name, value, allowed):
    """value, checked to be one of the allowed words."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, not {value!r}")
    return value


def check_count(name, value, lowest=1, highest=None):
    """value as an int, checked to be a whole number in lowest..highest (bool and float are refused)."""
    try:
        if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):  # torch's, and numpy's
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be an int >= {lowest}, not {type(value).__name__} {value!r:.60}") from None
    if highest is not None and not lowest <= number <= highest:
        raise ValueError(f"{name} must lie in {lowest}..{highest}, not {number}")
    if number < lowest:
        raise ValueError(f"{name} must be an int >= {lowest}, not {number}")
    return number


def time_index(t, schedule, shape, lowest=1):
    """t ready to read a table, so that `table[t]` broadcasts against x of the given shape.

    An int stays an int. A (B,) tensor moves to the CPU, where the tables are, and becomes (B, 1, ..., 1).
    Anything outside lowest..T raises: a table is never read at a negative index.
    """
    if not isinstance(getattr(schedule, "T", None), int):
        raise ValueError(f"schedule must be a Schedule, not {type(schedule).__name__} {schedule!r:.60}")
    T = schedule.T
    if not (torch.is_tensor(t) and t.ndim):
        return check_count("t", t, lowest, T)
    if t.dtype == torch.bool or t.is_floating_point() or t.is_complex():
        raise ValueError(f"t must be an int or an integer tensor, not a tensor of {t.dtype}")
    if t.ndim != 1 or not shape or len(t) != shape[0]:
        raise ValueError(f"t must be an int or hold one entry per sample, not shape {tuple(t.shape)} for x of shape "
                         f"{tuple(shape)}")
    t = t.cpu().long()
    outside = t[(t < lowest) | (t > T)]
    if len(outside):
        raise ValueError(f"t must lie in {lowest}..{T}, not {int(outside[0])}")
    return t.reshape(-1, *[1] * (len(shape) - 1))


def draw_noise(x, noise, generator):
    """The caller's noise, checked, or a fresh standard normal draw shaped like x.

    A draw is made where the generator lives and then moved, so that a CPU seed means the same on every device.
    """
    if noise is None:
        device = x.device if generator is None else check_generator(generator).device
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=device).to(x.device)
    if generator is not None:
        raise ValueError("give either noise or generator, not both: a fixed noise leaves nothing to draw")
    if check_shapes(noise=check_tensor("noise", noise), x=x) != x.shape:
        raise ValueError(f"noise of shape {tuple(noise.shape)} must broadcast to x of shape {tuple(x.shape)}")
    return noise.to(x)


def check_generator(generator):
    """generator, checked to be a torch.Generator (or None)."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"generator must be a torch.Generator, not {type(generator).__name__} {generator!r:.60}")
    return generator


def ask(denoiser, xt, t):
    """The denoiser's prediction at (xt, t), with t handed over as a (B,) int64 tensor on xt's device."""
    one_per_sample = torch.is_tensor(t) and t.ndim
    t = t.to(xt.device, torch.int64) if one_per_sample else torch.full(xt.shape[:1], int(t), device=xt.device)
    prediction = denoiser(xt, t)
    if not torch.is_tensor(prediction) or prediction.shape != xt.shape:
        found = tuple(prediction.shape) if torch.is_tensor(prediction) else type(prediction).__name__
        raise ValueError(f"denoiser must return a tensor of xt's shape {tuple(xt.shape)}, not {found}")
    return prediction
