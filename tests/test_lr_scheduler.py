"""Learning-rate schedules against PyTorch's, step by step."""

from __future__ import annotations

import copy
import json
import warnings

import numpy as np
import pytest
import torch

import tinygrad_edu as te
from tinygrad_edu.optim import SGD, AdamW
from tinygrad_edu.optim import lr_scheduler as ours
from tinygrad_edu.tensor import made

theirs = torch.optim.lr_scheduler
STEPS = 60


def chain(L, opt, *schedules):
    return L.ChainedScheduler([make(L, opt) for make in schedules])


def sequence(L, opt, milestones, *schedules):
    return L.SequentialLR(opt, [make(L, opt) for make in schedules], milestones)


SIMPLE = {
    "lambda": lambda L, o: L.LambdaLR(o, lambda epoch: 0.95**epoch),
    "lambda per group": lambda L, o: L.LambdaLR(o, [lambda e: 1 / (1 + e), lambda e: min(1.0, e / 10)]),
    "multiplicative": lambda L, o: L.MultiplicativeLR(o, lambda epoch: 0.9 + 0.001 * epoch),
    "step": lambda L, o: L.StepLR(o, 7, 0.3),
    "multistep": lambda L, o: L.MultiStepLR(o, [30, 4, 10, 10], 0.5),
    "constant": lambda L, o: L.ConstantLR(o, 0.25, 9),
    "linear": lambda L, o: L.LinearLR(o, 0.1, 0.7, 13),
    "warm-up": lambda L, o: L.LinearLR(o, 1e-3, total_iters=10),
    "exponential": lambda L, o: L.ExponentialLR(o, 0.93),
    "polynomial": lambda L, o: L.PolynomialLR(o, 40, 2.0),
    "cosine": lambda L, o: L.CosineAnnealingLR(o, 59, 1e-3),
    "cosine beyond its end": lambda L, o: L.CosineAnnealingLR(o, 8, 0.01),
    "restarts": lambda L, o: L.CosineAnnealingWarmRestarts(o, 7, eta_min=0.01),
    "longer restarts": lambda L, o: L.CosineAnnealingWarmRestarts(o, 3, 2),
}
SCHEDULES = SIMPLE | {
    "one cycle": lambda L, o: L.OneCycleLR(o, 0.5, total_steps=STEPS),
    "one linear cycle": lambda L, o: L.OneCycleLR(
        o, [0.5, 0.1], epochs=6, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.25
    ),
    "one cycle of three phases": lambda L, o: L.OneCycleLR(
        o, 0.5, total_steps=STEPS, three_phase=True, base_momentum=0.7, max_momentum=[0.9, 0.8], div_factor=10
    ),
    "one cycle without momentum": lambda L, o: L.OneCycleLR(o, 0.5, total_steps=STEPS, cycle_momentum=False),
    "chained": lambda L, o: chain(L, o, SIMPLE["warm-up"], SIMPLE["exponential"], SIMPLE["constant"]),
    "warm-up, then cosine": lambda L, o: sequence(L, o, [10], SIMPLE["warm-up"], SIMPLE["cosine"]),
    "five in sequence": lambda L, o: sequence(
        L, o, [5, 15, 30, 45], SIMPLE["polynomial"], SIMPLE["multistep"], SIMPLE["longer restarts"],
        SIMPLE["lambda"], SIMPLE["step"],
    ),
    "three more in sequence": lambda L, o: sequence(
        L, o, [12, 40], SIMPLE["constant"], SIMPLE["exponential"], SIMPLE["linear"]
    ),
}  # fmt: skip


def optimizer(library, kind="AdamW"):
    if library is te:
        p = [made(np.ones(2), requires_grad=True) for _ in range(2)]
    else:
        p = [torch.ones(2, requires_grad=True) for _ in range(2)]
    options = {"momentum": 0.5} if kind == "SGD" else {}
    return getattr(library.optim, kind)([{"params": p[:1]}, {"params": p[1:], "lr": 0.2}], lr=0.1, **options)


def settings(opt):
    """What a schedule may change in the groups."""
    return [[g["lr"], g["initial_lr"], *(g["betas"] if "betas" in g else [g["momentum"]])] for g in opt.param_groups]


def run(opt, scheduler, steps):
    """The settings after each step."""
    found = []
    for _ in range(steps):
        opt.step()
        scheduler.step()
        assert scheduler.get_last_lr() == [g["lr"] for g in opt.param_groups]
        found.append(settings(opt))
    return found


@pytest.mark.filterwarnings("ignore:The epoch parameter")  # PyTorch's own notice to itself
@pytest.mark.parametrize("kind", ["AdamW", "SGD"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_step_equals_pytorchs(name, kind):
    mine, rival = optimizer(te, kind), optimizer(torch, kind)
    a, b = SCHEDULES[name](ours, mine), SCHEDULES[name](theirs, rival)
    np.testing.assert_allclose(settings(mine), settings(rival), rtol=1e-13)
    assert a.get_last_lr() == b.get_last_lr()
    steps = STEPS - 1
    np.testing.assert_allclose(run(mine, a, steps), run(rival, b, steps), rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("name", SCHEDULES)
def test_resuming_from_a_saved_state(name):
    opt = optimizer(te)
    scheduler = SCHEDULES[name](ours, opt)
    run(opt, scheduler, 23)
    state, groups = copy.deepcopy(scheduler.state_dict()), copy.deepcopy(opt.state_dict())
    expected = run(opt, scheduler, 30)

    state = json.loads(json.dumps(state))  # plain numbers, strings and lists
    fresh = optimizer(te)
    resumed = SCHEDULES[name](ours, fresh)
    resumed.load_state_dict(state)
    fresh.load_state_dict(groups)
    assert run(fresh, resumed, 30) == expected


RESUMED = {
    "step": lambda L, o: L.StepLR(o, 7, 0.3, last_epoch=5),
    "exponential": lambda L, o: L.ExponentialLR(o, 0.93, last_epoch=5),
    "cosine": lambda L, o: L.CosineAnnealingLR(o, 59, 1e-3, last_epoch=5),
    "multistep": lambda L, o: L.MultiStepLR(o, [30, 4, 10, 10], 0.5, last_epoch=5),
    "linear": lambda L, o: L.LinearLR(o, 0.1, 0.7, 13, last_epoch=5),
    "polynomial": lambda L, o: L.PolynomialLR(o, 40, 2.0, last_epoch=5),
    "one cycle": lambda L, o: L.OneCycleLR(o, 0.5, total_steps=STEPS, last_epoch=5),
}


@pytest.mark.parametrize("name", RESUMED)
def test_last_epoch_resumes_without_a_saved_schedule(name):
    """As in PyTorch, the constructor takes the step after last_epoch."""
    found = []
    for library, L in ((te, ours), (torch, theirs)):
        opt = optimizer(library)
        run(opt, SCHEDULES[name](L, opt), 5)
        again = RESUMED[name](L, opt)
        found.append([settings(opt), *run(opt, again, 20)])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


@pytest.mark.parametrize("name", [n for n in SIMPLE if "restarts" not in n])
def test_a_given_epoch_uses_the_closed_form(name):
    mine, rival = optimizer(te), optimizer(torch)
    a, b = SIMPLE[name](ours, mine), SIMPLE[name](theirs, rival)
    for epoch in (3, 17, 0, 40, 9):
        for opt, scheduler in ((mine, a), (rival, b)):
            opt.step()
            with pytest.warns(UserWarning, match="deprecated"):
                scheduler.step(epoch)
        np.testing.assert_allclose(settings(mine), settings(rival), rtol=1e-13, atol=1e-17)


def test_warm_restarts_take_fractions_of_an_epoch():
    mine, rival = optimizer(te), optimizer(torch)
    for T_mult in (1, 2):
        a = ours.CosineAnnealingWarmRestarts(mine, 3, T_mult)
        b = theirs.CosineAnnealingWarmRestarts(rival, 3, T_mult)
        for i in range(100):
            a.step(i / 7)
            b.step(i / 7)
            np.testing.assert_allclose(settings(mine), settings(rival), rtol=1e-9)
    with pytest.raises(ValueError, match="non-negative epoch"):
        a.step(-1)


@pytest.mark.parametrize("options", [
    {"patience": 2}, {"patience": 0, "cooldown": 3, "factor": 0.5}, {"mode": "max", "patience": 1, "min_lr": 1e-3},
    {"threshold": 0.05, "threshold_mode": "abs", "patience": 1, "min_lr": [1e-3, 1e-2]},
    {"mode": "max", "threshold": 0.1, "threshold_mode": "abs", "patience": 3, "eps": 1e-3},
], ids=str)  # fmt: skip
def test_reduce_on_plateau(options):
    rng = np.random.default_rng(0)
    metrics = 1 + 0.3 * rng.standard_normal(STEPS) + np.linspace(0, -0.5, STEPS)
    mine, rival = optimizer(te), optimizer(torch)
    a, b = ours.ReduceLROnPlateau(mine, **options), theirs.ReduceLROnPlateau(rival, **options)
    for i, metric in enumerate(metrics):
        a.step(made(np.array(metric)))
        b.step(metric)
        assert a.get_last_lr() == pytest.approx(b.get_last_lr(), rel=1e-13)
        assert (a.best, a.num_bad_epochs, a.cooldown_counter) == (b.best, b.num_bad_epochs, b.cooldown_counter)
        if i == 20:
            state, groups = copy.deepcopy(a.state_dict()), mine.state_dict()
            mine = optimizer(te)
            a = ours.ReduceLROnPlateau(mine, **options)
            a.load_state_dict(state)
            mine.load_state_dict(groups)
    assert mine.param_groups[0]["lr"] < 0.1


def test_schedules_of_schedules_of_schedules():
    """A chain as a part of a sequence goes as it does alone, at the start and in the middle."""
    parts = SIMPLE["warm-up"], SIMPLE["exponential"]
    alone = optimizer(te)
    expected = run(alone, chain(ours, alone, *parts), 20)
    for begin in (0, 5):
        opt = optimizer(te)
        first = [SIMPLE["step"]] if begin else []
        inner = [make(ours, opt) for make in first] + [
            ours.SequentialLR(opt, [chain(ours, opt, *parts), SIMPLE["cosine"](ours, opt)], [1000])
        ]
        scheduler = ours.SequentialLR(opt, inner, [begin] if begin else [])
        np.testing.assert_allclose(run(opt, scheduler, 20 + begin)[begin:], expected, rtol=1e-13)


class Decay:
    def __init__(self, rate):
        self.rate = rate

    def __call__(self, epoch):
        return self.rate**epoch


@pytest.mark.parametrize("kind", ["LambdaLR", "MultiplicativeLR"])
def test_of_functions_only_objects_are_saved(kind):
    opt = optimizer(te)
    scheduler = getattr(ours, kind)(opt, [Decay(0.5), lambda epoch: 1.0])
    state = scheduler.state_dict()
    assert state["lr_lambdas"] == [{"rate": 0.5}, None]
    fresh = getattr(ours, kind)(opt, [Decay(0.1), lambda epoch: 1.0])
    fresh.load_state_dict(state)
    assert fresh.lr_lambdas[0].rate == 0.5
    assert state["lr_lambdas"] == [{"rate": 0.5}, None]


def test_stepping_before_the_optimizer_warns_once_as_pytorch_does():
    for library, L in ((te, ours), (torch, theirs)):
        opt = optimizer(library)
        scheduler = L.StepLR(opt, 2)
        with pytest.warns(UserWarning, match=r"Detected call of `lr_scheduler.step\(\)` before `optimizer.step\(\)`"):
            scheduler.step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scheduler.step()


def test_an_optimizer_with_a_step_of_its_own_is_not_warned_about():
    class Own(SGD):
        def step(self, closure=None):
            """Nothing."""

    scheduler = ours.StepLR(Own([made(np.ones(1), requires_grad=True)]), 2)
    scheduler.step()
    assert scheduler.last_epoch == 1


def test_one_cycle_that_starts_at_its_top():
    opt = optimizer(te)
    scheduler = ours.OneCycleLR(opt, 0.5, total_steps=10, pct_start=0.1)  # PyTorch divides by zero here
    assert scheduler.get_last_lr() == [0.5, 0.5]
    assert run(opt, scheduler, 9)[-1][0][0] == pytest.approx(0.5 / 25 / 1e4)


def test_one_cycle_stops_after_its_steps():
    opt = optimizer(te)
    scheduler = ours.OneCycleLR(opt, 0.5, total_steps=5)
    run(opt, scheduler, 5)
    with pytest.raises(ValueError, match="Tried to step 6 times. The specified number of total steps is 5"):
        scheduler.step()


BAD = {
    "not an optimizer": lambda L, o: L.StepLR("adam", 2),
    "resumed groups": lambda L, o: L.StepLR(o, 2, last_epoch=3),
    "lambdas": lambda L, o: L.LambdaLR(o, [abs]),
    "not callable": lambda L, o: L.MultiplicativeLR(o, 0.5),
    "constant": lambda L, o: L.ConstantLR(o, 1.5),
    "start": lambda L, o: L.LinearLR(o, 0.0),
    "end": lambda L, o: L.LinearLR(o, 0.5, 1.5),
    "T_0": lambda L, o: L.CosineAnnealingWarmRestarts(o, 0),
    "T_mult": lambda L, o: L.CosineAnnealingWarmRestarts(o, 3, 0),
    "no length": lambda L, o: L.OneCycleLR(o, 0.1, epochs=3),
    "epochs": lambda L, o: L.OneCycleLR(o, 0.1, epochs=0, steps_per_epoch=1),
    "steps per epoch": lambda L, o: L.OneCycleLR(o, 0.1, epochs=2, steps_per_epoch=-1),
    "total steps": lambda L, o: L.OneCycleLR(o, 0.1, total_steps=0),
    "pct_start": lambda L, o: L.OneCycleLR(o, 0.1, total_steps=5, pct_start=1.5),
    "anneal": lambda L, o: L.OneCycleLR(o, 0.1, total_steps=5, anneal_strategy="cosine"),
    "max_lr": lambda L, o: L.OneCycleLR(o, [0.1], total_steps=5),
    "nothing to chain": lambda L, o: L.ChainedScheduler([]),
    "plateau": lambda L, o: L.ChainedScheduler([L.ReduceLROnPlateau(o)]),
    "not a scheduler": lambda L, o: L.SequentialLR(o, [o.step], []),
    "milestones": lambda L, o: L.SequentialLR(o, [L.StepLR(o, 2)], [4]),
    "factor": lambda L, o: L.ReduceLROnPlateau(o, factor=1.0),
    "mode": lambda L, o: L.ReduceLROnPlateau(o, mode="least"),
    "threshold mode": lambda L, o: L.ReduceLROnPlateau(o, threshold_mode="x"),
    "min_lr": lambda L, o: L.ReduceLROnPlateau(o, min_lr=[0.1]),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_refused_with_pytorchs_error_class(name):
    with pytest.raises((TypeError, ValueError, KeyError)) as expected:
        BAD[name](theirs, optimizer(torch))
    with pytest.raises(expected.type) as found:
        BAD[name](ours, optimizer(te))
    assert len(str(found.value)) > 15


def test_schedules_of_two_optimizers_do_not_mix():
    first, second = (AdamW([made(np.ones(1), requires_grad=True)]) for _ in range(2))
    with pytest.raises(ValueError, match="same optimizer; number 1"):
        ours.ChainedScheduler([ours.StepLR(first, 2), ours.StepLR(second, 2)])


def test_momentum_cannot_cycle_where_there_is_none():
    class Plain(te.optim.Optimizer):
        pass

    opt = Plain([made(np.ones(1), requires_grad=True)], {"lr": 0.1})
    with pytest.raises(ValueError, match="must support momentum or beta1"):
        ours.OneCycleLR(opt, 0.1, total_steps=5)


def test_a_schedule_of_the_readers_own_must_define_get_lr():
    with pytest.raises(NotImplementedError, match="Bare must define get_lr"):
        type("Bare", (ours.LRScheduler,), {})(optimizer(te))
