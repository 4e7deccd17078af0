"""Bigrams of names, by counts and by a network of one layer, as in a notebook."""

import torch
import torch.nn.functional as F


def main(given, steps):
    words = given.names
    chars = sorted(set("".join(words)))
    stoi = {s: i + 1 for i, s in enumerate(chars)}
    stoi["."] = 0
    itos = {i: s for s, i in stoi.items()}
    V = len(stoi)

    N = torch.zeros((V, V), dtype=torch.int32)
    for w in words:
        chs = ["."] + list(w) + ["."]
        for ch1, ch2 in zip(chs, chs[1:]):  # noqa: B905
            ix1 = stoi[ch1]
            ix2 = stoi[ch2]
            N[ix1, ix2] += 1

    P = (N + 1).float()
    P /= P.sum(1, keepdims=True)
    assert torch.allclose(P.sum(1), torch.ones(V))

    log_likelihood, n = 0.0, 0
    for w in words[:20]:
        chs = ["."] + list(w) + ["."]
        for ch1, ch2 in zip(chs, chs[1:]):  # noqa: B905
            logprob = torch.log(P[stoi[ch1], stoi[ch2]])
            log_likelihood += logprob
            n += 1
    nll = -log_likelihood / n

    g = torch.Generator().manual_seed(2147483647)
    out, ix = [], 0
    while len(out) < 30:
        p = N[ix].float()
        p = p / p.sum()
        ix = torch.multinomial(p, num_samples=1, replacement=True, generator=g).item()
        out.append(itos[ix])
        if ix == 0:
            break

    xs, ys = [], []
    for w in words:
        chs = ["."] + list(w) + ["."]
        for ch1, ch2 in zip(chs, chs[1:]):  # noqa: B905
            xs.append(stoi[ch1])
            ys.append(stoi[ch2])
    xs = torch.tensor(xs)
    ys = torch.tensor(ys)
    num = xs.nelement()

    W = torch.tensor(given.rng.standard_normal((V, V)), dtype=torch.float32, requires_grad=True)
    losses = []
    for _ in range(steps):
        xenc = F.one_hot(xs, num_classes=V).float()
        logits = xenc @ W
        counts = logits.exp()
        probs = counts / counts.sum(1, keepdims=True)
        loss = -probs[torch.arange(num), ys].log().mean() + 0.01 * (W**2).mean()
        losses.append(loss.item())
        W.grad = None
        loss.backward()
        W.data += -50 * W.grad

    return {
        "losses": losses,
        "nll": nll.item(),
        "counts": N.tolist(),
        "dtypes": [str(t.dtype).split(".")[-1] for t in (N, P, xs, xenc, N.sum(), N + 1, N / 2, N[0])],
        "commonest": torch.topk(N.flatten(), 1).indices.item(),
        "row": P[0].tolist(),
        "W": W.detach().numpy(),
        "sampled": 0 < len(out) <= 30,
    }
