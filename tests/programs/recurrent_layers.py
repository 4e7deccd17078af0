"""The layers nn.RNN, nn.LSTM and nn.GRU: a language model of letters, and a classifier of packed sentences."""

import torch
from torch import nn, optim
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence


class LetterModel(nn.Module):
    def __init__(self, kind, vocab_size, n_embd=12, n_hidden=20):
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, n_embd)
        self.rnn = getattr(nn, kind)(n_embd, n_hidden, num_layers=2, dropout=0.0)
        self.decoder = nn.Linear(n_hidden, vocab_size)
        self.kind, self.n_hidden = kind, n_hidden

    def init_hidden(self, batch_size):
        weight = next(self.parameters())
        zeros = weight.new_zeros(2, batch_size, self.n_hidden)
        return (zeros, weight.new_zeros(2, batch_size, self.n_hidden)) if self.kind == "LSTM" else zeros

    def forward(self, input, hidden):
        output, hidden = self.rnn(self.encoder(input), hidden)
        return nn.functional.log_softmax(self.decoder(output).flatten(0, 1), dim=1), hidden


def repackage(h):
    return h.detach() if isinstance(h, torch.Tensor) else tuple(repackage(v) for v in h)


class Classifier(nn.Module):
    def __init__(self, vocab_size, n_embd=16, n_hidden=12):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, n_embd, padding_idx=0)
        self.lstm = nn.LSTM(n_embd, n_hidden, bidirectional=True, batch_first=True)
        self.fc = nn.Linear(2 * n_hidden, 2)

    def forward(self, text, lengths):
        packed = pack_padded_sequence(self.embedding(text), lengths, batch_first=True, enforce_sorted=False)
        output, (hidden, _) = self.lstm(packed)
        output, _ = pad_packed_sequence(output, batch_first=True)
        return self.fc(torch.cat((hidden[-2], hidden[-1]), dim=1)), output


def letters(given, steps, kind):
    chars = sorted(set(given.text))
    data = torch.tensor([chars.index(c) for c in given.text[:8000]])
    batch_size, bptt = 8, 12
    data = data[: data.size(0) // batch_size * batch_size].view(batch_size, -1).t().contiguous()
    model = LetterModel(kind, len(chars))
    given.fill(model, torch)
    criterion = nn.NLLLoss()
    optimizer = optim.SGD(model.parameters(), lr=2.0, momentum=0.5)
    scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.98)
    hidden, losses = model.init_hidden(batch_size), []
    for step in range(steps):
        i = step * bptt
        x, y = data[i : i + bptt], data[i + 1 : i + 1 + bptt].reshape(-1)
        hidden = repackage(hidden)
        optimizer.zero_grad()
        output, hidden = model(x, hidden)
        loss = criterion(output, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.25)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    return {"losses": losses, "keys": list(model.state_dict()), "lr": scheduler.get_last_lr()[0]}


def reviews(given, steps):
    vocabulary = {w: i + 2 for i, w in enumerate(sorted({w for s, _ in given.sentences for w in s.split()}))}
    encoded = [torch.tensor([vocabulary.get(w, 1) for w in s.split()][:15]) for s, _ in given.sentences]
    labels = torch.tensor([label for _, label in given.sentences])
    model = Classifier(len(vocabulary) + 2)
    given.fill(model, torch)
    optimizer = optim.RMSprop(model.parameters(), lr=3e-3)
    scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    losses = []
    for _ in range(steps):
        chosen = given.rng.permutation(len(encoded))[:16].tolist()
        text = pad_sequence([encoded[i] for i in chosen], batch_first=True)
        lengths = torch.tensor([len(encoded[i]) for i in chosen])
        logits, output = model(text, lengths)
        loss = nn.functional.cross_entropy(logits, labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step(loss.item())
        losses.append(loss.item())
    return {"losses": losses, "shape": tuple(output.shape), "lr": optimizer.param_groups[0]["lr"]}


def main(given, steps, kind):
    return reviews(given, steps) if kind == "packed" else letters(given, steps, kind)


VARIANTS = {"RNN": {"kind": "RNN"}, "LSTM": {"kind": "LSTM"}, "GRU": {"kind": "GRU"}, "packed": {"kind": "packed"}}
