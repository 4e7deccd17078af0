"""What courses show of autograd: graphs, accumulation, an own Function, hooks, second derivatives, a fit by hand."""

import math

import torch
from torch import nn
from torch.autograd import Function
from torch.autograd.functional import hessian, jacobian


class LegendrePolynomial3(Function):
    @staticmethod
    def forward(ctx, input):
        ctx.save_for_backward(input)
        return 0.5 * (5 * input**3 - 3 * input)

    @staticmethod
    def backward(ctx, grad_output):
        (input,) = ctx.saved_tensors
        return grad_output * 1.5 * (5 * input**2 - 1)


def graph_facts():
    a = torch.tensor([2.0, 3.0], requires_grad=True)
    b = torch.tensor([6.0, 4.0], requires_grad=True)
    Q = 3 * a**3 - b**2
    Q.backward(gradient=torch.tensor([1.0, 1.0]), retain_graph=True)
    once = a.grad.tolist()
    Q.sum().backward()
    facts = [once, a.grad.tolist(), b.grad.tolist(), a.is_leaf, Q.is_leaf, Q.requires_grad, Q.grad_fn is not None]
    with torch.no_grad():
        facts.append((a * 2).requires_grad)
    d = Q.detach()
    facts += [d.requires_grad, torch.is_grad_enabled()]
    try:
        Q.sum().backward()
    except RuntimeError:
        facts.append("the graph is gone")
    seen = []
    h = (a * b).relu()
    h.register_hook(lambda grad: seen.append(grad.tolist()))
    handle = a.register_hook(lambda grad: grad * 10)
    a.grad = None
    h.sum().backward()
    handle.remove()
    facts += [seen, a.grad.tolist()]
    x = torch.arange(4.0, requires_grad=True)
    (first,) = torch.autograd.grad((x**4).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    facts += [first.tolist(), second.tolist()]
    facts.append(jacobian(lambda v: v.exp() * v[0], torch.tensor([0.5, 1.0])).tolist())
    facts.append(hessian(lambda v: (v**3).sum() + v.prod(), torch.tensor([0.5, 1.0])).tolist())
    return facts


def polynomial(given, steps):
    """y = a + b P3(c + d x), fitted to a sine, as in PyTorch's own tutorial."""
    x = torch.linspace(-math.pi, math.pi, 200)
    y = torch.sin(x)
    a, b, c, d = (torch.full((), v, requires_grad=True) for v in (0.0, -1.0, 0.0, 0.3))
    losses = []
    for _ in range(steps):
        y_pred = a + b * LegendrePolynomial3.apply(c + d * x)
        loss = (y_pred - y).pow(2).sum()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for p in (a, b, c, d):
                p -= 5e-6 * p.grad
                p.grad = None
    return losses, [p.item() for p in (a, b, c, d)]


def penalised(given, steps):
    """A critic whose gradient at its inputs shall have length 1: the loss holds a gradient."""
    model = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Softplus(), nn.Linear(16, 1))
    given.fill(model, torch)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(steps):
        real = torch.from_numpy(given.rng.standard_normal((16, 2)).astype("float32")) + 2
        fake = torch.from_numpy(given.rng.standard_normal((16, 2)).astype("float32"))
        mix = torch.lerp(real, fake, 0.5).requires_grad_(True)
        (gradient,) = torch.autograd.grad(model(mix).sum(), mix, create_graph=True)
        penalty = ((gradient.norm(2, dim=1) - 1) ** 2).mean()
        loss = model(fake).mean() - model(real).mean() + 10 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model(torch.ones(1, 2)).item()


def main(given, steps, kind):
    losses, extra = {"polynomial": polynomial, "penalised": penalised}[kind](given, steps)
    return {"losses": losses, "extra": extra, "facts": graph_facts()}


VARIANTS = {"polynomial": {"kind": "polynomial"}, "penalised": {"kind": "penalised"}}
