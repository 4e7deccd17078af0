"""The MLP on names, first with bare tensors and batch normalisation by hand, then with layers."""

import random

import torch
import torch.nn.functional as F


def build_dataset(words, stoi, block_size):
    X, Y = [], []
    for w in words:
        context = [0] * block_size
        for ch in w + ".":
            ix = stoi[ch]
            X.append(context)
            Y.append(ix)
            context = context[1:] + [ix]
    return torch.tensor(X), torch.tensor(Y)


class Linear:
    def __init__(self, weight, bias=True):
        self.weight = weight
        self.bias = torch.zeros(weight.shape[1]) if bias else None

    def __call__(self, x):
        self.out = x @ self.weight
        if self.bias is not None:
            self.out += self.bias
        return self.out

    def parameters(self):
        return [self.weight] + ([] if self.bias is None else [self.bias])


class BatchNorm1d:
    def __init__(self, dim, eps=1e-5, momentum=0.1):
        self.eps, self.momentum, self.training = eps, momentum, True
        self.gamma, self.beta = torch.ones(dim), torch.zeros(dim)
        self.running_mean, self.running_var = torch.zeros(dim), torch.ones(dim)

    def __call__(self, x):
        if self.training:
            dim = tuple(range(x.ndim - 1))
            xmean, xvar = x.mean(dim, keepdim=True), x.var(dim, keepdim=True, unbiased=True)
        else:
            xmean, xvar = self.running_mean, self.running_var
        xhat = (x - xmean) / torch.sqrt(xvar + self.eps)
        self.out = self.gamma * xhat + self.beta
        if self.training:
            with torch.no_grad():
                self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * xmean
                self.running_var = (1 - self.momentum) * self.running_var + self.momentum * xvar
        return self.out

    def parameters(self):
        return [self.gamma, self.beta]


class Tanh:
    def __call__(self, x):
        self.out = torch.tanh(x)
        return self.out

    def parameters(self):
        return []


class Embedding:
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, IX):
        self.out = self.weight[IX]
        return self.out

    def parameters(self):
        return [self.weight]


class FlattenConsecutive:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        B, T, C = x.shape
        x = x.view(B, T // self.n, C * self.n)
        if x.shape[1] == 1:
            x = x.squeeze(1)
        self.out = x
        return self.out

    def parameters(self):
        return []


def main(given, steps, kind):
    words = list(given.names)
    random.seed(42)
    random.shuffle(words)
    chars = sorted(set("".join(words)))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    stoi["."] = 0
    V, emb, hidden, block_size = len(stoi), 10, 48, 4
    n1 = int(0.9 * len(words))
    Xtr, Ytr = build_dataset(words[:n1], stoi, block_size)
    Xdev, Ydev = build_dataset(words[n1:], stoi, block_size)

    def randn(*shape):
        return torch.from_numpy(given.rng.standard_normal(shape).astype("float32"))

    losses, ratios = [], []
    if kind == "tensors":
        C = randn(V, emb)
        W1 = randn(block_size * emb, hidden) * (5 / 3) / ((block_size * emb) ** 0.5)
        b1 = randn(hidden) * 0.01
        W2 = randn(hidden, V) * 0.01
        b2 = randn(V) * 0
        bngain, bnbias = torch.ones((1, hidden)), torch.zeros((1, hidden))
        bnmean_running, bnstd_running = torch.zeros((1, hidden)), torch.ones((1, hidden))
        parameters = [C, W1, b1, W2, b2, bngain, bnbias]
        for p in parameters:
            p.requires_grad = True
        for i in range(steps):
            ix = torch.from_numpy(given.rng.integers(0, Xtr.shape[0], (32,)))
            Xb, Yb = Xtr[ix], Ytr[ix]
            embcat = C[Xb].view(Xb.shape[0], -1)
            hpreact = embcat @ W1 + b1
            bnmeani, bnstdi = hpreact.mean(0, keepdim=True), hpreact.std(0, keepdim=True)
            hpreact = bngain * (hpreact - bnmeani) / bnstdi + bnbias
            with torch.no_grad():
                bnmean_running = 0.9 * bnmean_running + 0.1 * bnmeani
                bnstd_running = 0.9 * bnstd_running + 0.1 * bnstdi
            h = torch.tanh(hpreact)
            loss = F.cross_entropy(h @ W2 + b2, Yb)
            for p in parameters:
                p.grad = None
            loss.backward()
            lr = 0.1 if i < 30 else 0.01
            for p in parameters:
                p.data += -lr * p.grad
            losses.append(loss.log10().item())
        with torch.no_grad():
            hpreact = bngain * (C[Xdev].view(Xdev.shape[0], -1) @ W1 + b1 - bnmean_running) / bnstd_running + bnbias
            dev = F.cross_entropy(torch.tanh(hpreact) @ W2 + b2, Ydev)
        extra = (h.abs() > 0.99).float().mean().item()
    else:
        layers = [
            Embedding(randn(V, emb)),
            FlattenConsecutive(2), Linear(randn(2 * emb, hidden) / (2 * emb) ** 0.5, bias=False),
            BatchNorm1d(hidden), Tanh(),
            FlattenConsecutive(2), Linear(randn(2 * hidden, hidden) / (2 * hidden) ** 0.5, bias=False),
            BatchNorm1d(hidden), Tanh(), Linear(randn(hidden, V) / hidden**0.5),
        ]  # fmt: skip
        with torch.no_grad():
            layers[-1].weight *= 0.1
        parameters = [p for layer in layers for p in layer.parameters()]
        for p in parameters:
            p.requires_grad = True

        def model(x):
            for layer in layers:
                x = layer(x)
            return x

        for _ in range(steps):
            ix = torch.from_numpy(given.rng.integers(0, Xtr.shape[0], (32,)))
            loss = F.cross_entropy(model(Xtr[ix]), Ytr[ix])
            for p in parameters:
                p.grad = None
            loss.backward()
            with torch.no_grad():
                ratios.append(((0.1 * layers[-1].weight.grad).std() / layers[-1].weight.data.std()).log10().item())
            for p in parameters:
                p.data += -0.1 * p.grad
            losses.append(loss.item())
        for layer in layers:
            if isinstance(layer, BatchNorm1d):
                layer.training = False
        with torch.no_grad():
            dev = F.cross_entropy(model(Xdev), Ydev)
        extra = torch.tensor(losses[: steps // 5 * 5]).view(-1, 5).mean(1).tolist()
    return {"losses": losses, "dev": dev.item(), "ratios": ratios, "extra": extra,
            "parameters": sum(p.nelement() for p in parameters)}  # fmt: skip


VARIANTS = {"tensors": {"kind": "tensors"}, "layers": {"kind": "layers"}}
