"""Recurrent networks on names, with cells written by hand: a plain one and a gated one, in the style of makemore."""

import torch
import torch.nn as nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset


class Names(Dataset):
    def __init__(self, words):
        self.words = words
        self.stoi = {ch: i + 1 for i, ch in enumerate(sorted(set("".join(words))))}
        self.longest = max(len(w) for w in words)

    def __len__(self):
        return len(self.words)

    def __getitem__(self, idx):
        ix = torch.tensor([self.stoi[w] for w in self.words[idx]], dtype=torch.long)
        x = torch.zeros(self.longest + 1, dtype=torch.long)
        y = torch.zeros(self.longest + 1, dtype=torch.long)
        x[1 : 1 + len(ix)] = ix
        y[: len(ix)] = ix
        y[len(ix) + 1 :] = -1  # what follows the end is not learned
        return x, y


class RNNCell(nn.Module):
    def __init__(self, n_embd, n_hidden):
        super().__init__()
        self.xh_to_h = nn.Linear(n_embd + n_hidden, n_hidden)

    def forward(self, xt, hprev):
        return F.tanh(self.xh_to_h(torch.cat([xt, hprev], dim=1)))


class GRUCell(nn.Module):
    def __init__(self, n_embd, n_hidden):
        super().__init__()
        self.xh_to_z = nn.Linear(n_embd + n_hidden, n_hidden)
        self.xh_to_r = nn.Linear(n_embd + n_hidden, n_hidden)
        self.xh_to_hbar = nn.Linear(n_embd + n_hidden, n_hidden)

    def forward(self, xt, hprev):
        xh = torch.cat([xt, hprev], dim=1)
        r = torch.sigmoid(self.xh_to_r(xh))
        hbar = torch.tanh(self.xh_to_hbar(torch.cat([xt, r * hprev], dim=1)))
        z = torch.sigmoid(self.xh_to_z(xh))
        return (1 - z) * hprev + z * hbar


class Model(nn.Module):
    def __init__(self, kind, vocab_size, n_embd=16, n_hidden=24):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, n_hidden))
        self.wte = nn.Embedding(vocab_size, n_embd)
        self.cell = {"rnn": RNNCell, "gru": GRUCell}[kind](n_embd, n_hidden)
        self.lm_head = nn.Linear(n_hidden, vocab_size)

    def forward(self, idx, targets=None):
        b, t = idx.size()
        emb = self.wte(idx)
        hprev, hiddens = self.start.expand((b, -1)), []
        for i in range(t):
            hprev = self.cell(emb[:, i, :], hprev)
            hiddens.append(hprev)
        logits = self.lm_head(torch.stack(hiddens, 1))
        loss = None
        if targets is not None:
            loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
        return logits, loss


def main(given, steps, kind):
    data = Names(given.names)
    model = Model(kind, len(data.stoi) + 1)
    given.fill(model, torch)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4, betas=(0.9, 0.99), eps=1e-8)
    loader = DataLoader(data, batch_size=16, drop_last=True)
    losses, batches = [], iter(loader)
    for _ in range(steps):
        try:
            X, Y = next(batches)
        except StopIteration:
            batches = iter(loader)
            X, Y = next(batches)
        _, loss = model(X, Y)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.inference_mode():
        logits, _ = model(X)
    return {"losses": losses, "logits": logits[0].numpy(), "keys": list(model.state_dict()), "repr": repr(model)}


VARIANTS = {"rnn": {"kind": "rnn"}, "gru": {"kind": "gru"}}
