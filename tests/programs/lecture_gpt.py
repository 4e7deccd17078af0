"""The lecture's language model, grown from a bigram table to blocks of attention heads, with estimate_loss()."""

import torch
import torch.nn as nn
from torch.nn import functional as F

batch_size = 8
block_size = 16
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
eval_iters = 3
n_embd = 24
n_head = 3
n_layer = 2
dropout = 0.0


class BigramLanguageModel(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx, targets=None):
        logits = self.token_embedding_table(idx)
        if targets is None:
            return logits, None
        B, T, C = logits.shape
        return logits, F.cross_entropy(logits.view(B * T, C), targets.view(B * T))


class Head(nn.Module):
    def __init__(self, head_size):
        super().__init__()
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)
        self.register_buffer("tril", torch.tril(torch.ones(block_size, block_size)))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        B, T, C = x.shape
        k, q = self.key(x), self.query(x)
        wei = q @ k.transpose(-2, -1) * k.shape[-1] ** -0.5
        wei = wei.masked_fill(self.tril[:T, :T] == 0, float("-inf"))
        wei = self.dropout(F.softmax(wei, dim=-1))
        return wei @ self.value(x)


class MultiHeadAttention(nn.Module):
    def __init__(self, num_heads, head_size):
        super().__init__()
        self.heads = nn.ModuleList([Head(head_size) for _ in range(num_heads)])
        self.proj = nn.Linear(head_size * num_heads, n_embd)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        out = torch.cat([h(x) for h in self.heads], dim=-1)
        return self.dropout(self.proj(out))


class FeedForward(nn.Module):
    def __init__(self, n_embd):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(n_embd, 4 * n_embd), nn.ReLU(), nn.Linear(4 * n_embd, n_embd), nn.Dropout(dropout)
        )

    def forward(self, x):
        return self.net(x)


class Block(nn.Module):
    def __init__(self, n_embd, n_head):
        super().__init__()
        self.sa = MultiHeadAttention(n_head, n_embd // n_head)
        self.ffwd = FeedForward(n_embd)
        self.ln1 = nn.LayerNorm(n_embd)
        self.ln2 = nn.LayerNorm(n_embd)

    def forward(self, x):
        x = x + self.sa(self.ln1(x))
        x = x + self.ffwd(self.ln2(x))
        return x


class GPTLanguageModel(nn.Module):
    def __init__(self, vocab_size):
        super().__init__()
        self.token_embedding_table = nn.Embedding(vocab_size, n_embd)
        self.position_embedding_table = nn.Embedding(block_size, n_embd)
        self.blocks = nn.Sequential(*[Block(n_embd, n_head=n_head) for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx, targets=None):
        B, T = idx.shape
        x = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(T, device=idx.device))
        logits = self.lm_head(self.ln_f(self.blocks(x)))
        if targets is None:
            return logits, None
        B, T, C = logits.shape
        return logits, F.cross_entropy(logits.view(B * T, C), targets.view(B * T))


def main(given, steps, kind):
    chars = sorted(set(given.text))
    stoi = {ch: i for i, ch in enumerate(chars)}
    encode = lambda s: [stoi[c] for c in s]  # noqa: E731
    decode = lambda line: "".join([chars[i] for i in line])  # noqa: E731
    data = torch.tensor(encode(given.text), dtype=torch.long)
    n = int(0.9 * len(data))
    splits = {"train": data[:n], "val": data[n:]}

    def get_batch(split):
        data = splits[split]
        ix = torch.from_numpy(given.rng.integers(len(data) - block_size, size=(batch_size,)))
        x = torch.stack([data[i : i + block_size] for i in ix])
        y = torch.stack([data[i + 1 : i + block_size + 1] for i in ix])
        return x.to(device), y.to(device)

    @torch.no_grad()
    def estimate_loss():
        out = {}
        model.eval()
        for split in ["train", "val"]:
            losses = torch.zeros(eval_iters)
            for k in range(eval_iters):
                X, Y = get_batch(split)
                _, loss = model(X, Y)
                losses[k] = loss.item()
            out[split] = losses.mean()
        model.train()
        return out

    # The averages of what came before, three ways.
    x = torch.from_numpy(given.rng.standard_normal((4, 8, 2))).float()
    xbow = torch.zeros((4, 8, 2))
    for b in range(4):
        for t in range(8):
            xbow[b, t] = torch.mean(x[b, : t + 1], 0)
    wei = torch.tril(torch.ones(8, 8))
    wei = wei / wei.sum(1, keepdim=True)
    tril = torch.tril(torch.ones(8, 8))
    masked = torch.zeros((8, 8)).masked_fill(tril == 0, float("-inf"))
    agree = [torch.allclose(xbow, wei @ x, atol=1e-6), torch.allclose(xbow, F.softmax(masked, dim=-1) @ x, atol=1e-6)]

    model = {"bigram": BigramLanguageModel, "blocks": GPTLanguageModel}[kind](len(chars))
    m = model.to(device)
    given.fill(m, torch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-2 if kind == "bigram" else 3e-3)
    losses, estimates = [], []
    for step in range(steps):
        if step % 20 == 0 or step == steps - 1:
            estimate = estimate_loss()
            estimates.append([float(estimate["train"]), float(estimate["val"])])
        xb, yb = get_batch("train")
        logits, loss = model(xb, yb)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    idx = torch.zeros((1, 1), dtype=torch.long, device=device)
    for _ in range(10):
        logits, _ = m(idx[:, -block_size:])
        probs = F.softmax(logits[:, -1, :], dim=-1)
        idx = torch.cat((idx, torch.argmax(probs, dim=-1, keepdim=True)), dim=1)
    drawn = torch.multinomial(probs, num_samples=1)
    return {"losses": losses, "estimates": estimates, "agree": agree, "wrote": decode(idx[0].tolist()),
            "parameters": sum(p.numel() for p in m.parameters()) / 1e6, "drawn": tuple(drawn.shape),
            "repr": str(m)}  # fmt: skip


VARIANTS = {"bigram": {"kind": "bigram"}, "blocks": {"kind": "blocks"}}
