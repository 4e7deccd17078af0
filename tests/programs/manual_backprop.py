"""Backpropagation through the MLP by hand, checked against autograd and then used instead of it, as in a notebook."""

import torch
import torch.nn.functional as F


def cmp(s, dt, t):
    exact = torch.all(dt == t.grad).item()
    approximate = torch.allclose(dt, t.grad, rtol=1e-4, atol=1e-6)
    maxdiff = (dt - t.grad).abs().max().item()
    assert approximate or exact, f"{s}: {maxdiff}"
    return approximate


def main(given, steps):
    chars = sorted(set("".join(given.names)))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    stoi["."] = 0
    block_size, n_embd, n_hidden, V, n = 3, 10, 32, len(stoi), 32
    X, Y = [], []
    for w in given.names:
        context = [0] * block_size
        for ch in w + ".":
            X.append(context)
            Y.append(stoi[ch])
            context = context[1:] + [stoi[ch]]
    X, Y = torch.tensor(X), torch.tensor(Y)

    def randn(*shape):
        return torch.from_numpy(given.rng.standard_normal(shape)).float()

    C = randn(V, n_embd)
    W1 = randn(n_embd * block_size, n_hidden) * (5 / 3) / ((n_embd * block_size) ** 0.5)
    b1 = randn(n_hidden) * 0.1
    W2 = randn(n_hidden, V) * 0.1
    b2 = randn(V) * 0.1
    bngain = randn(1, n_hidden) * 0.1 + 1.0
    bnbias = randn(1, n_hidden) * 0.1
    parameters = [C, W1, b1, W2, b2, bngain, bnbias]
    for p in parameters:
        p.requires_grad = True

    ix = torch.from_numpy(given.rng.integers(0, X.shape[0], n))
    Xb, Yb = X[ix], Y[ix]
    emb = C[Xb]
    embcat = emb.view(emb.shape[0], -1)
    hprebn = embcat @ W1 + b1
    bnmeani = 1 / n * hprebn.sum(0, keepdim=True)
    bndiff = hprebn - bnmeani
    bndiff2 = bndiff**2
    bnvar = 1 / (n - 1) * (bndiff2).sum(0, keepdim=True)
    bnvar_inv = (bnvar + 1e-5) ** -0.5
    bnraw = bndiff * bnvar_inv
    hpreact = bngain * bnraw + bnbias
    h = torch.tanh(hpreact)
    logits = h @ W2 + b2
    logit_maxes = logits.max(1, keepdim=True).values
    norm_logits = logits - logit_maxes
    counts = norm_logits.exp()
    counts_sum = counts.sum(1, keepdims=True)
    counts_sum_inv = counts_sum**-1
    probs = counts * counts_sum_inv
    logprobs = probs.log()
    loss = -logprobs[range(n), Yb].mean()
    for t in [logprobs, probs, counts, counts_sum, counts_sum_inv, norm_logits, logit_maxes, logits, h, hpreact, bnraw,
              bnvar_inv, bnvar, bndiff2, bndiff, hprebn, bnmeani, embcat, emb]:  # fmt: skip
        t.retain_grad()
    loss.backward()

    dlogprobs = torch.zeros_like(logprobs)
    dlogprobs[range(n), Yb] = -1.0 / n
    dprobs = (1.0 / probs) * dlogprobs
    dcounts_sum_inv = (counts * dprobs).sum(1, keepdim=True)
    dcounts = counts_sum_inv * dprobs
    dcounts_sum = (-(counts_sum**-2)) * dcounts_sum_inv
    dcounts += torch.ones_like(counts) * dcounts_sum
    dnorm_logits = counts * dcounts
    dlogits = dnorm_logits.clone()
    dlogit_maxes = (-dnorm_logits).sum(1, keepdim=True)
    dlogits += F.one_hot(logits.max(1).indices, num_classes=logits.shape[1]) * dlogit_maxes
    dh = dlogits @ W2.T
    dhpreact = (1.0 - h**2) * dh
    dbnraw = bngain * dhpreact
    dbndiff = bnvar_inv * dbnraw
    dbnvar_inv = (bndiff * dbnraw).sum(0, keepdim=True)
    dbnvar = (-0.5 * (bnvar + 1e-5) ** -1.5) * dbnvar_inv
    dbndiff2 = (1.0 / (n - 1)) * torch.ones_like(bndiff2) * dbnvar
    dbndiff += (2 * bndiff) * dbndiff2
    dhprebn = dbndiff.clone()
    dbnmeani = (-dbndiff).sum(0)
    dhprebn += 1.0 / n * (torch.ones_like(hprebn) * dbnmeani)
    dembcat = dhprebn @ W1.T
    demb = dembcat.view(emb.shape)
    dC = torch.zeros_like(C)
    for k in range(Xb.shape[0]):
        for j in range(Xb.shape[1]):
            dC[Xb[k, j]] += demb[k, j]
    good = [cmp("logprobs", dlogprobs, logprobs), cmp("probs", dprobs, probs), cmp("counts", dcounts, counts),
            cmp("counts_sum", dcounts_sum, counts_sum), cmp("norm_logits", dnorm_logits, norm_logits),
            cmp("logits", dlogits, logits), cmp("h", dh, h), cmp("W2", h.T @ dlogits, W2),
            cmp("b2", dlogits.sum(0), b2),
            cmp("hpreact", dhpreact, hpreact), cmp("bngain", (bnraw * dhpreact).sum(0, keepdim=True), bngain),
            cmp("bnbias", dhpreact.sum(0, keepdim=True), bnbias), cmp("bnvar", dbnvar, bnvar),
            cmp("bndiff", dbndiff, bndiff), cmp("hprebn", dhprebn, hprebn), cmp("W1", embcat.T @ dhprebn, W1),
            cmp("b1", dhprebn.sum(0), b1), cmp("emb", demb, emb), cmp("C", dC, C)]  # fmt: skip

    losses = []
    with torch.no_grad():
        for _ in range(steps):
            ix = torch.from_numpy(given.rng.integers(0, X.shape[0], n))
            Xb, Yb = X[ix], Y[ix]
            emb = C[Xb]
            embcat = emb.view(emb.shape[0], -1)
            hprebn = embcat @ W1 + b1
            bnmean, bnvar = hprebn.mean(0, keepdim=True), hprebn.var(0, keepdim=True, unbiased=True)
            bnvar_inv = (bnvar + 1e-5) ** -0.5
            bnraw = (hprebn - bnmean) * bnvar_inv
            h = torch.tanh(bngain * bnraw + bnbias)
            logits = h @ W2 + b2
            losses.append(F.cross_entropy(logits, Yb).item())

            dlogits = F.softmax(logits, 1)
            dlogits[range(n), Yb] -= 1
            dlogits /= n
            dhpreact = (1.0 - h**2) * (dlogits @ W2.T)
            dhprebn = bngain * bnvar_inv / n * (
                n * dhpreact - dhpreact.sum(0) - n / (n - 1) * bnraw * (dhpreact * bnraw).sum(0)
            )  # fmt: skip
            demb = (dhprebn @ W1.T).view(emb.shape)
            dC = torch.zeros_like(C)
            dC.index_add_(0, Xb.view(-1), demb.view(-1, n_embd))
            grads = [dC, embcat.T @ dhprebn, dhprebn.sum(0), h.T @ dlogits, dlogits.sum(0),
                     (bnraw * dhpreact).sum(0, keepdim=True), dhpreact.sum(0, keepdim=True)]  # fmt: skip
            for p, grad in zip(parameters, grads, strict=True):
                p.data += -0.1 * grad
    return {"losses": losses, "good": good, "first": loss.item(), "W2": W2.detach().numpy()}
