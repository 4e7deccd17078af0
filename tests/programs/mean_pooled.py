"""Sentences judged by the mean of their words' embeddings: Dataset, collate_fn, a schedule, the best weights kept."""

import copy

import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset, TensorDataset


class Reviews(Dataset):
    def __init__(self, sentences):
        words = sorted({w for s, _ in sentences for w in s.split()})
        self.vocab = {"<pad>": 0, "<unk>": 1, **{w: i + 2 for i, w in enumerate(words)}}
        self.items = [(torch.tensor([self.vocab.get(w, 1) for w in s.split()]), float(y)) for s, y in sentences]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def collate(batch):
    longest = max(len(ids) for ids, _ in batch)
    padded = torch.stack([torch.cat([ids, ids.new_zeros(longest - len(ids))]) for ids, _ in batch])
    return padded, torch.tensor([y for _, y in batch])


class FastText(nn.Module):
    def __init__(self, vocab_size, embedding_dim=16, hidden=8):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_dim, padding_idx=0)
        self.hidden = nn.Linear(embedding_dim, hidden, bias=False)  # the norm takes every bias out
        self.norm = nn.BatchNorm1d(hidden)
        self.fc = nn.Linear(hidden, 1)
        self.drop = nn.Dropout(p=0.0)

    def forward(self, ids):
        mask = ids.ne(0).unsqueeze(-1).to(torch.float32)
        pooled = (self.embedding(ids) * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)
        return self.fc(self.drop(torch.relu(self.norm(self.hidden(pooled))))).squeeze(-1)


def accuracy(logits, y):
    return (torch.round(torch.sigmoid(logits)) == y).float().mean().item()


def main(given, steps):
    data = Reviews(given.sentences)
    order = given.rng.permutation(len(data)).tolist()
    cut = int(0.8 * len(data))
    train, valid = Subset(data, order[:cut]), Subset(data, order[cut:])
    train_loader = DataLoader(
        train, batch_sampler=BatchSampler(range(cut), batch_size=16, drop_last=True), collate_fn=collate
    )
    valid_loader = DataLoader(valid, batch_size=64, shuffle=False, collate_fn=collate, num_workers=0, pin_memory=False)
    model = FastText(len(data.vocab))
    given.fill(model, torch)
    with torch.no_grad():
        model.embedding.weight[0].zero_()
    criterion = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam([
        {"params": model.embedding.parameters(), "lr": 2e-2},
        {"params": [p for n, p in model.named_parameters() if not n.startswith("embedding")]},
    ], lr=1e-2)  # fmt: skip
    scheduler = StepLR(optimizer, step_size=2, gamma=0.7)

    losses, best, best_state, history = [], float("inf"), None, []
    while len(losses) < steps:
        model.train()
        for ids, y in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(ids), y)
            loss.backward()
            grad_norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=0.5, norm_type=2)
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
        scheduler.step()
        model.eval()
        total, right = 0.0, 0.0
        with torch.no_grad():
            for ids, y in valid_loader:
                logits = model(ids)
                total += criterion(logits, y).item() * y.size(0)
                right += accuracy(logits, y) * y.size(0)
        history.append(total / len(valid))
        if history[-1] < best:
            best, best_state = history[-1], copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    model.eval()
    probabilities = torch.sigmoid(model(data[0][0].unsqueeze(0)))
    xs = TensorDataset(torch.arange(6).view(6, 1), torch.arange(6.0))
    return {
        "losses": losses,
        "history": history,
        "lr": [group["lr"] for group in optimizer.param_groups],
        "norm": grad_norm.item(),
        "pad": model.embedding.weight[0].abs().sum().item(),
        "running": model.norm.running_var.tolist(),
        "batches": int(model.norm.num_batches_tracked),
        "probability": probabilities.item(),
        "plain": [[a.tolist(), b.tolist()] for a, b in DataLoader(xs, batch_size=4)],
    }
