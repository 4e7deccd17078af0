"""Fine-tuning: a vocabulary that grows, frozen layers, a moving average of the weights, groups of learning rates."""

import copy
from collections import OrderedDict

import torch
import torch.nn as nn
import torch.nn.functional as F


class Model(nn.Module):
    def __init__(self, vocab_size, n_embd=16, hidden=32, block_size=4):
        super().__init__()
        self.block_size = block_size
        self.body = nn.Sequential(
            OrderedDict([
                ("embed", nn.Embedding(vocab_size, n_embd)),
                ("flat", nn.Flatten(1)),
                ("fc", nn.Linear(block_size * n_embd, hidden)),
                ("act", nn.GELU(approximate="tanh")),
            ])
        )  # fmt: skip
        self.head = nn.Linear(hidden, vocab_size)

    def forward(self, x):
        return self.head(self.body(x))

    def extend(self, vocab_size):
        for name, old in (("body.embed", self.body.embed), ("head", self.head)):
            new = (
                type(old)(vocab_size, old.weight.shape[1]) if name != "head" else nn.Linear(old.in_features, vocab_size)
            )
            with torch.no_grad():
                new.weight.zero_()
                new.weight[: old.weight.shape[0]].copy_(old.weight)
                if name == "head":
                    new.bias.fill_(-1.0)
                    new.bias[: old.bias.shape[0]] = old.bias
            parent, _, leaf = name.rpartition(".")
            setattr(self.get_submodule(parent) if parent else self, leaf, new)


class EMA:
    def __init__(self, model, decay=0.9):
        self.shadow, self.decay = copy.deepcopy(model), decay
        self.shadow.requires_grad_(False)

    @torch.no_grad()
    def update(self, model):
        for ours, theirs in zip(self.shadow.parameters(), model.parameters(), strict=True):
            ours.mul_(self.decay).add_(theirs, alpha=1 - self.decay)


def windows(text, stoi, block_size):
    data = torch.tensor([stoi[c] for c in text])
    patches = data.unfold(0, block_size + 1, 1)
    return patches[:, :-1], patches[:, -1]


def main(given, steps):
    first = [name for name in given.names if set(name) <= set("AEIOULNRTSKMDBJWGZYC")]
    second = given.names
    chars = sorted(set("".join(first)))
    new = sorted(set("".join(second)) - set(chars))
    stoi = {c: i + 1 for i, c in enumerate(chars)} | {".": 0}
    model = Model(len(stoi))
    given.fill(model, torch)
    losses, hooked = [], []

    def train(names, steps, params, lr):
        X, Y = windows("." + ".".join(names) + ".", stoi, model.block_size)
        optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=0.0)
        warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=5)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, decay], milestones=[5])
        for _ in range(steps):
            ix = torch.from_numpy(given.rng.integers(0, len(X), 32))
            loss = F.cross_entropy(model(X[ix]), Y[ix])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
            optimizer.step()
            scheduler.step()
            ema.update(model)
            losses.append(loss.item())

    ema = EMA(model)
    train(first, steps // 2, model.parameters(), 1e-2)
    before = {k: v.clone() for k, v in model.state_dict().items()}

    stoi |= {c: len(stoi) + i for i, c in enumerate(new)}
    model.extend(len(stoi))
    for name, p in model.named_parameters():
        p.requires_grad = "fc" not in name
    handle = model.head.register_forward_hook(lambda module, args, output: hooked.append(tuple(output.shape)))
    ema = EMA(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.dim() > 1], "lr": 2e-2},
        {"params": [p for p in trainable if p.dim() == 1]},
    ]
    train(second, steps - steps // 2, groups, 5e-3)
    handle.remove()

    after = model.state_dict()
    missing = Model(len(stoi)).load_state_dict({k: v for k, v in after.items() if "fc" not in k}, strict=False)
    return {
        "losses": losses,
        "frozen": bool(torch.equal(before["body.fc.weight"], after["body.fc.weight"])),
        "moved": not torch.equal(before["head.weight"], after["head.weight"][: len(before["head.weight"])]),
        "missing": [sorted(missing.missing_keys), sorted(missing.unexpected_keys)],
        "hooked": [len(hooked), hooked[0][0]],
        "new": new,
        "ema": ema.shadow.head.weight.numpy(),
        "no_grads": [name for name, p in model.named_parameters() if p.grad is None],
    }
