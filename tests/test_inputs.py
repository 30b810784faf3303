"""Every public function against every wrong argument: a ValueError that names the argument, its value and what is
allowed, and nothing lost on the way: no argument changed, no generator moved on.

Seen to fail on wrong versions: each check taken out, or its bound moved by one, in inputs.py, schedule.py, forward.py
and gaussians.py; int() for operator.index(); noise drawn before t is looked at; t left in its narrow dtype, on the
CPU, or not shaped to broadcast; matplotlib imported with the package.
"""

import inspect
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

import ddpm_lesson
from ddpm_lesson import GaussianMixture, Schedule, TwoBumps
from ddpm_lesson.inputs import ask, check_choice, check_count, check_pair, check_tensor, time_index

CHAIN = Schedule([0.03, 0.2, 0.11, 0.31, 0.07, 0.25, 0.4, 0.14])
MIXTURE, BUMPS = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 2.0]], 0.3), TwoBumps(5)
X, BUMPY = torch.linspace(-1, 1, 8).reshape(4, 2), torch.linspace(-1, 1, 20).reshape(4, 5)


def zero(xt, t):
    return torch.zeros_like(xt)


PAIRS = {"mean_from_x0": "x0", "mean_from_eps": "eps", "x0_from_eps": "eps", "x0_from_mean": "mean",
         "eps_from_x0": "x0", "eps_from_mean": "mean", "posterior_mean_var": "x0"}
JUMPS = {"q_step": "x_prev", "q_sample": "x0", "q_mean_var": "x0", "ve_sample": "x0", "vp_to_ve": "xt", "ve_to_vp": "x"}
KL = {"mean_q": X, "var_q": 0.5, "mean_p": 0.0, "var_p": torch.tensor([1.0, 2.0])}
EYE = torch.eye(2)
CALLS = {  # every public function and method, with arguments that are right
    **{name: (getattr(ddpm_lesson, name), {x: X, "t": 3, "schedule": CHAIN}) for name, x in JUMPS.items()},
    **{name: (getattr(ddpm_lesson, name), {"xt": X, known: X + 1, "t": 3, "schedule": CHAIN})
       for name, known in PAIRS.items()},
    "Schedule": (Schedule, {"beta": [0.1, 0.3]}),
    "Schedule.sigma": (CHAIN.sigma, {"kind": "beta"}),
    "Schedule.terminal_kl": (CHAIN.terminal_kl, {"x0": X}),
    "linear_schedule": (ddpm_lesson.linear_schedule, {"T": 100, "beta_1": 1e-4, "beta_T": 0.02}),
    "quadratic_schedule": (ddpm_lesson.quadratic_schedule, {"T": 5, "beta_1": 1e-4, "beta_T": 0.02}),
    "constant_schedule": (ddpm_lesson.constant_schedule, {"T": 5, "beta": 0.02}),
    "cosine_schedule": (ddpm_lesson.cosine_schedule, {"T": 5, "s": 0.008, "beta_max": 0.999}),
    "kl_gaussian": (ddpm_lesson.kl_gaussian, KL),
    "kl_full": (ddpm_lesson.kl_full, {"mean_q": X, "cov_q": EYE, "mean_p": X[0], "cov_p": EYE}),
    "loss_weight": (ddpm_lesson.loss_weight, {"predicts": "eps", "schedule": CHAIN, "sigma": "beta"}),
    "simple_loss": (ddpm_lesson.simple_loss, {"denoiser": zero, "x0": X, "schedule": CHAIN, "t": 3, "predicts": "x0"}),
    **{name: (getattr(ddpm_lesson, name), {"denoiser": zero, "x0": X, "schedule": CHAIN, "sigma": "beta",
                                           "decoder_var": 0.1, "predicts": "x0", "n": 2})
       for name in ("elbo_terms", "elbo_consistency")},
    "bits_per_dim": (ddpm_lesson.bits_per_dim, {"nats": 1.0, "d": 2}),
    "p_step": (ddpm_lesson.p_step, {"denoiser": zero, "xt": X, "t": 3, "schedule": CHAIN, "sigma": "beta",
                                    "predicts": "x0", "clip": 1.0}),
    # an iterator: a wrong argument must be reported before its first step is asked for
    "p_sample_loop": (ddpm_lesson.p_sample_loop, {"denoiser": zero, "schedule": CHAIN, "xT": X, "sigma": "beta",
                                                  "predicts": "x0", "clip": 1.0}),
    "sample": (ddpm_lesson.sample, {"denoiser": zero, "schedule": CHAIN, "xT": X, "steps": 3, "sigma": "beta",
                                    "predicts": "x0", "clip": 1.0}),
    "GaussianMixture": (GaussianMixture, {"weights": [0.4, 0.6], "means": [[-1.0, 0.0], [1.0, 2.0]], "std": 0.3}),
    "GaussianMixture.log_prob": (MIXTURE.log_prob, {"x": X}),
    "GaussianMixture.noised": (MIXTURE.noised, {"t": 3, "schedule": CHAIN}),
    "GaussianMixture.reverse_moments": (MIXTURE.reverse_moments, {"xt": X, "t": 3, "schedule": CHAIN}),
    "TwoBumps": (TwoBumps, {"n": 5}),
    **{f"{type(data).__name__}.{name}": (getattr(data, name), arguments)
       for data, x in ((MIXTURE, X), (BUMPS, BUMPY)) for name, arguments in (
           ("sample", {"n": 3}), ("denoiser", {"schedule": CHAIN, "predicts": "x0"}),
           ("posterior_mean", {"xt": x, "t": 3, "schedule": CHAIN}), ("score", {"xt": x, "t": 3, "schedule": CHAIN}))},
    "GaussianMixture.denoiser()": (MIXTURE.denoiser(CHAIN), {"xt": X, "t": 3}),
    "TwoBumps.denoiser()": (BUMPS.denoiser(CHAIN), {"xt": BUMPY, "t": 3}),
}

NAN, INF = X.clone(), X.clone()
NAN[2, 1], INF[0] = math.nan, -math.inf
VALUES = [  # wrong where an image or a prediction is wanted, and what the message must say of it
    (torch.zeros(4, 2, dtype=torch.uint8), "a tensor of torch.uint8; scale integer images to [-1, 1] first"),
    (torch.zeros(4, 2, dtype=torch.int64), "a tensor of torch.int64"), (X > 0, "a tensor of torch.bool"),
    (X + 1j, "a tensor of torch.complex64"), (X.numpy(), "floating-point torch tensor, not ndarray"),
    (X.tolist(), "floating-point torch tensor, not list"), (3.0, "floating-point torch tensor, not float 3.0"),
    (None, "floating-point torch tensor, not NoneType None"),
    (NAN, "must be finite: it holds nan or inf in 1 of its values"), (INF, "nan or inf in 2 of its values"),
]
TIMES = [
    (0, "must lie in 1..8, not 0"), (9, "must lie in 1..8, not 9"), (-1, "must lie in 1..8, not -1"),
    (True, "must be an int >= 1, not bool True"), (3.0, "must be an int >= 1, not float 3.0"), ("3", "not str '3'"),
    ([1, 2, 3, 4], "not list [1, 2, 3, 4]"), (np.array([1, 2, 3, 4]), "not ndarray"), (np.True_, "not bool"),
    (torch.tensor(0), "must lie in 1..8, not 0"), (torch.tensor(3.0), "not Tensor tensor(3.)"),
    (torch.tensor(True), "not Tensor tensor(True)"), (torch.ones(4), "not a tensor of torch.float32"),
    (torch.tensor([True] * 4), "not a tensor of torch.bool"), (torch.tensor([1, 0, 1, 8]), "must lie in 1..8, not 0"),
    (torch.tensor([1, 9, 1, 8]), "must lie in 1..8, not 9"), (torch.tensor([-1, 1, 1, 8]), "must lie in 1..8, not -1"),
    (torch.tensor([1, 2, 3]), "one entry per sample, not shape (3,) for x of shape (4, "),
    (torch.tensor([[1], [2], [3], [4]]), "not shape (4, 1)"), (torch.tensor([1]), "not shape (1,)"),
]
COUNTS = [(0, "must be an int >= 1, not 0"), (-3, "not -3"), (2.0, "must be an int >= 1, not float 2.0"),
          (True, "not bool True"), ("2", "not str '2'"), (None, "not NoneType None")]
ENDS = [(0, "in (0, 1), not 0"), (1.0, "in (0, 1), not 1"), (-0.1, "in (0, 1), not -0.1"), (math.nan, "not nan"),
        (math.inf, "not inf"), ("0.5", "must be a number in (0, 1), not str '0.5'"), (None, "not NoneType None"),
        (True, "not bool True"), ([0.1, 0.2], "not list [0.1, 0.2]")]
BETAS = [
    ([0.1, 0.0], "must lie in (0, 1) at every t: β_2 = 0"), ([1.0], "β_1 = 1"), ([0.1, -0.1], "β_2 = -0.1"),
    ([0.1, 1.5, 7.0], "β_2 = 1.5"), ([math.nan], "β_1 = nan"), ([0.1, math.inf], "β_2 = inf"), ([], "not shape (0,)"),
    ([[0.1]], "must be 1-D and hold at least one value, β_1..β_T, not shape (1, 1)"), (0.1, "not shape ()"),
    ("0.1", "not '0.1'"), (None, "not None"), ({"beta": 0.1}, "not {'beta': 0.1}"), ([0.1, "x"], "not [0.1, 'x']"),
    ([1e-20], "must keep alpha_bar strictly decreasing in float64: ᾱ_1 = 1 equals ᾱ_0"),
]
WORDS = [("epsilon", "not 'epsilon'"), (None, "not None"), (0.1, "not 0.1"), ("", "not ''")]
GENERATORS = [(7, "must be a torch.Generator, not int 7"), ("cpu", "not str 'cpu'"),
              (np.random.default_rng(), "not Generator ")]
NUMBERS = [(torch.zeros(4, 2, dtype=torch.int64), "floating-point tensor or a number, not a tensor of torch.int64"),
           (None, "not NoneType None"), (X.tolist(), "not list"), (True, "not bool True"), (NAN, "must be finite"),
           (math.nan, "must be finite")]
CLIPS = [(0, "must be None or a finite number > 0, not 0"), (-1.0, "not -1.0"), (math.inf, "not inf"),
         (math.nan, "not nan"), ("1", "not '1'"), (True, "not True")]
OPTIONAL = [(value, says) for value, says in VALUES if value is not None]
WRONG = {  # by the argument's name
    **dict.fromkeys(["x0", "xt", "x_prev", "x", "eps", "mean"], VALUES), **dict.fromkeys(["xT", "noise"], OPTIONAL),
    **dict.fromkeys(["T", "n", "d"], COUNTS), **dict.fromkeys(["beta_1", "beta_T", "beta_max"], ENDS),
    **dict.fromkeys(["mean_q", "mean_p"], NUMBERS),
    **{var: [*NUMBERS, (0.0, "must be > 0: its smallest value is 0"), (torch.tensor([1.0, -2.0]), "is -2")]
       for var in ("var_q", "var_p")},
    **{cov: [*NUMBERS[:2], (torch.zeros(2, 3), "with d = 2, not (2, 3)"), (torch.ones(2), "not (2,)"),
             (torch.tensor([[1.0, 0.5], [0.0, 1.0]]), "must be symmetric"),
             (torch.tensor([[1.0, 2.0], [2.0, 1.0]]), "must be positive definite: its smallest eigenvalue is -1")]
       for cov in ("cov_q", "cov_p")},
    "t": TIMES, "beta": BETAS, "generator": GENERATORS, "clip": CLIPS,
    "predicts": [(v, f"must be one of 'eps', 'x0', 'mean', {says}") for v, says in WORDS],
    "sigma": [(v, f"must be one of 'posterior', 'beta', {says}") for v, says in WORDS],
    "s": [(-0.1, "must be a finite number >= 0, not -0.1"), (math.nan, "not nan"), (math.inf, "not inf"),
          ("0", "must be a number >= 0, not str '0'"), (None, "not NoneType None")],
    "steps": [(0, "must lie in 1..8, not 0"), (9, "must lie in 1..8, not 9"), (2.0, "not float 2.0")],
    "decoder_var": [(0.0, "must be a finite number > 0, not"), (-1.0, "-1"), (math.nan, "nan"), (math.inf, "inf"),
                    ("1", "'1'"), (torch.ones(2), "tensor")],
    "weights": [([0.5, 0.6], "must be 2 numbers > 0 that sum to 1"), ([1.0], "[1.0]"), ([1.0, 0.0], "[1.0, 0.0]"),
                ([math.nan, 1.0], "must be finite"), ([[0.4, 0.6]], "shape (K,), not [[0.4, 0.6]]"),
                ("ab", "'ab'"), (None, "None")],
    "means": [([0.0, 1.0], "must be finite numbers of shape (K, d), not [0.0, 1.0]"), ([[math.inf], [0.0]], "finite"),
              ([[], []], "not [[], []]"), ("ab", "'ab'"), (None, "None")],
    "std": [(-0.1, "must be a finite number >= 0, or 2 of them"), (math.nan, "be finite numbers of shape () or (K,)"),
            ([0.1, 0.2, 0.3], "[0.1, 0.2, 0.3]"), ([[0.1, 0.2]], "not [[0.1, 0.2]]"), ("ab", "'ab'"), (None, "None")],
}
SPECIAL = {  # where a function means something else by the name
    ("constant_schedule", "beta"): ENDS, ("TwoBumps", "n"): [(1, "must be an int >= 2, not 1"), (2.0, "float 2.0")],
    ("Schedule.sigma", "kind"): [(value, f"sigma {says}") for value, says in WRONG["sigma"]],
    ("GaussianMixture.noised", "t"): [
        (9, "must lie in 0..8, not 9"), (-1, "must lie in 0..8, not -1"), (True, "not bool True"), (3.0, "float 3.0"),
        (torch.tensor([1, 2]), "not shape (2,)"), (torch.ones(2), "not a tensor of torch.float32")],
}
ELSEWHERE = {"schedule", "denoiser", "shape", "device", "nats", "rescale"}  # below, or torch's to check
SWEEP = [(name, argument, value, says) for name, (function, _) in CALLS.items()
         for argument in inspect.signature(function).parameters
         for value, says in SPECIAL.get((name, argument), WRONG.get(argument, []))]


def copies(arguments):
    return {name: v.clone() for name, v in arguments.items() if torch.is_tensor(v)}


def unchanged(arguments, before):
    return all(torch.equal(arguments[name].nan_to_num(), v.nan_to_num()) for name, v in before.items())


@pytest.mark.parametrize("name, argument, value, says", SWEEP, ids=[f"{n}({a}) {s}" for n, a, _, s in SWEEP])
def test_a_wrong_argument_is_named_and_nothing_is_lost(name, argument, value, says):
    function, right = CALLS[name]
    arguments, generator = right | {argument: value}, torch.Generator().manual_seed(0)
    if "generator" in inspect.signature(function).parameters and argument not in ("noise", "generator"):
        arguments["generator"] = generator
    before = copies(arguments)
    with pytest.raises(ValueError) as error:
        function(**arguments)
    message = str(error.value)
    assert re.search(rf"\b{'sigma' if argument == 'kind' else argument}\b", message) and says in message, message
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())
    assert unchanged(arguments, before)


@pytest.mark.parametrize("name", CALLS)
def test_a_right_call_changes_none_of_its_arguments(name):
    function, right = CALLS[name]
    before = copies(right)
    result = function(**right)
    list(result) if inspect.isgenerator(result) else result
    assert unchanged(right, before)


def test_the_sweep_is_complete():
    """A new function, method or argument without a row above turns this red."""
    missing = {name for name in ddpm_lesson.__all__ if name not in CALLS} - {"ElboTerms"}
    for data in (CHAIN, MIXTURE, BUMPS):
        methods = {f"{type(data).__name__}.{m}" for m, _ in inspect.getmembers(data, inspect.ismethod) if m[0] != "_"}
        missing |= methods - set(CALLS) - {"TwoBumps.bump", "TwoBumps.log_prob"}  # a helper, and one that always raises
    assert not missing
    arguments = {(name, argument) for name, (function, _) in CALLS.items()
                 for argument in inspect.signature(function).parameters}
    swept = {(name, argument) for name, argument, _, _ in SWEEP}
    assert {argument for _, argument in arguments - swept} == ELSEWHERE


# --- arguments that do not fit each other ---

@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_that_does_not_broadcast(name):
    function, right = CALLS[name]
    known = PAIRS[name]
    with pytest.raises(ValueError, match=rf"shapes of xt \(4, 2\), {known} \(4, 3\) do not broadcast"):
        function(**right | {known: torch.zeros(4, 3)})
    with pytest.raises(ValueError, match="one entry per sample"):  # of the pair's common shape
        function(**right | {"xt": X[:1], known: X[:1], "t": torch.tensor([1, 2, 3, 4])})


@pytest.mark.parametrize("name, argument, value, says", [
    ("kl_gaussian", "var_p", torch.ones(3), "mean_q (4, 2), var_q (), mean_p (), var_p (3,) do not broadcast"),
    ("kl_full", "mean_p", torch.zeros(3, 2), "mean_p (3,), cov_p () do not broadcast"),
    ("kl_full", "mean_p", torch.zeros(3), "mean_p must have shape (..., d) with d = 2, not (3,)"),
    ("kl_full", "mean_q", torch.zeros(()), "mean_q must have shape (..., d)"),
    ("GaussianMixture.log_prob", "x", torch.zeros(4, 3), "x must have shape (B, 2), not (4, 3)"),
    ("GaussianMixture.posterior_mean", "xt", torch.zeros(2), "xt must have shape (B, 2), not (2,)"),
    ("GaussianMixture.reverse_moments", "xt", torch.zeros(4, 1, 2), "xt must have shape (B, 2), not (4, 1, 2)"),
    ("TwoBumps.posterior_mean", "xt", torch.zeros(4, 6), "xt must have shape (B, 5), not (4, 6)"),
    ("TwoBumps.score", "xt", torch.zeros(5), "xt must have shape (B, 5), not (5,)"),
    *[(name, "x0", torch.tensor(0.5), "x0 must have a batch dimension, (B, ...), not shape ()")
      for name in ("Schedule.terminal_kl", "simple_loss", "elbo_terms", "elbo_consistency")],
    *[(name, "xT", torch.tensor(0.5), "xT must have a batch dimension") for name in ("p_sample_loop", "sample")],
    *[(name, "noise", torch.zeros(3, 2), "noise (3, 2), x (4, 2) do not broadcast")
      for name in ("q_step", "q_sample", "ve_sample", "simple_loss", "p_step")],
    *[(name, "noise", torch.zeros(2, 4, 2), "noise of shape (2, 4, 2) must broadcast to x of shape (4, 2)")
      for name in ("q_step", "q_sample", "ve_sample", "simple_loss", "p_step")],
], ids=lambda v: v if isinstance(v, str) else "")
def test_a_shape_that_does_not_fit(name, argument, value, says):
    function, right = CALLS[name]
    with pytest.raises(ValueError, match=re.escape(says)):
        function(**right | {argument: value})


@pytest.mark.parametrize("name", ["q_step", "q_sample", "ve_sample", "p_step"])
def test_noise_and_generator_exclude_each_other(name):
    function, right = CALLS[name]
    generator = torch.Generator().manual_seed(0)
    for t in (1, 3):
        with pytest.raises(ValueError, match="give either noise or generator, not both"):
            function(**right | {"t": t, "noise": X, "generator": generator})
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


@pytest.mark.parametrize("function", [ddpm_lesson.p_sample_loop, ddpm_lesson.sample])
def test_exactly_one_of_shape_and_xT(function):
    with pytest.raises(ValueError, match="exactly one of shape and xT, not neither"):
        function(zero, CHAIN)
    with pytest.raises(ValueError, match="exactly one of shape and xT, not both"):
        function(zero, CHAIN, (4, 2), xT=X)


@pytest.mark.parametrize("shape, says", [
    (4, "must be a tuple of ints (B, ...), not 4"), ((4.0, 2), "not float 4.0"), ((4, -2), "not -2"), ("42", "not str"),
    ((), "must have a batch dimension, (B, ...), not ()"), ((True, 2), "not bool True")])
@pytest.mark.parametrize("function", [ddpm_lesson.p_sample_loop, ddpm_lesson.sample])
def test_a_wrong_shape(function, shape, says):
    generator = torch.Generator().manual_seed(0)
    with pytest.raises(ValueError, match=f"shape must .*{re.escape(says.removeprefix('must '))}"):
        function(zero, CHAIN, shape, generator=generator)
    assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


@pytest.mark.parametrize("name", ["simple_loss", "elbo_terms", "elbo_consistency", "p_step", "sample"])
@pytest.mark.parametrize("answer, says", [(X[0], "(2,)"), (X[:3], "(3, 2)"), (None, "NoneType"), (0.0, "float")])
def test_a_denoiser_of_the_wrong_shape(name, answer, says):
    function, right = CALLS[name]
    expected = re.escape("denoiser must return a tensor of xt's shape (")
    with pytest.raises(ValueError, match=rf"{expected}\d, 2\), not {re.escape(says)}"):
        function(**right | {"denoiser": lambda xt, t: answer})


# --- the checks themselves ---

def test_a_check_hands_back_what_it_checked():
    assert check_tensor("x", X) is X
    assert check_choice("a", "b", ("b", "c")) == "b"
    for three in (3, np.int64(3), torch.tensor(3), torch.tensor([3])):
        three = check_count("n", three)
        assert type(three) is int and three == 3
    assert check_count("n", 1) == 1 and check_count("n", 0, 0) == 0
    assert check_count("n", 2, 2, 5) == 2 and check_count("n", 5, 2, 5) == 5


def test_time_index_reads_a_table_so_that_it_broadcasts():
    assert time_index(8, CHAIN, (4, 2)) == 8 and type(time_index(torch.tensor(8), CHAIN, (4, 2))) is int
    t = torch.tensor([1, 8], dtype=torch.int16)
    for shape in ((2,), (2, 3), (2, 1, 4, 4)):
        index = time_index(t, CHAIN, shape)
        assert index.dtype == torch.int64 and index.shape == (2,) + (1,) * (len(shape) - 1)
        assert CHAIN.beta[index].flatten().tolist() == [0.03, 0.14]
    assert time_index(0, CHAIN, (), lowest=0) == 0


def test_a_pair_is_typed_like_its_result():
    index, like = check_pair(torch.tensor([1, 2, 3, 4]), CHAIN, a=X, b=X[:1].double())
    assert index.shape == (4, 1) and like.dtype == torch.float64 and like.numel() == 0


@pytest.mark.parametrize("t", [3, torch.tensor(3), torch.tensor([3] * 4), torch.tensor([3] * 4, dtype=torch.uint8)])
def test_a_denoiser_always_gets_one_int64_t_per_sample(t):
    def denoiser(xt, t):
        assert xt is X and t.dtype == torch.int64 and t.tolist() == [3, 3, 3, 3]
        return xt

    assert ask(denoiser, X, t) is X


def test_t_goes_to_where_x_is():
    x = X.to("meta")
    for t in (3, torch.tensor([1, 2, 3, 4])):
        assert ask(lambda xt, t: (xt if t.device.type == "meta" else None), x, t) is x


# --- the package as a whole ---

def test_importing_the_package_imports_little_beside_torch():
    """Plots, widgets, downloads and progress bars wait until a lesson asks (torch itself may bring tqdm)."""
    code = ("import sys, json, torch; before = set(sys.modules); import ddpm_lesson; "
            "print(json.dumps(sorted({name.split('.')[0] for name in set(sys.modules) - before})))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = set(json.loads(run.stdout)) - set(sys.stdlib_module_names)
    assert not added & {"matplotlib", "ipywidgets", "IPython", "sklearn", "pooch", "tqdm", "scipy", "yaml"}
    assert added <= {"ddpm_lesson", "torch", "numpy"}


def test_every_public_name_is_there_and_documented():
    for name in ddpm_lesson.__all__:
        assert getattr(ddpm_lesson, name).__doc__
    assert ddpm_lesson.__all__ == sorted(ddpm_lesson.__all__)
