"""What several claim tests need to work in float64: comparison, draws, a column of numbers."""

import torch
from torch.testing import assert_close


def close(actual, expected, rtol=1e-10, atol=1e-11):
    actual = actual if torch.is_tensor(actual) else torch.tensor(actual, dtype=torch.float64)
    assert_close(actual, torch.as_tensor(expected, dtype=torch.float64), rtol=rtol, atol=atol)


def randn(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]
