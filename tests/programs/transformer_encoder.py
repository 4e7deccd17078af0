"""Sentences judged by a Transformer encoder with padding masks: PyTorch's layers, bare attention, and all by hand."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class SinusoidalPositions(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        position = torch.arange(max_len).unsqueeze(1)
        div_term = torch.exp(torch.arange(0, d_model, 2) * (-math.log(10000.0) / d_model))
        pe = torch.zeros(1, max_len, d_model)
        pe[0, :, 0::2] = torch.sin(position * div_term)
        pe[0, :, 1::2] = torch.cos(position * div_term)
        self.register_buffer("pe", pe, persistent=False)

    def forward(self, x):
        return x + self.pe[:, : x.size(1)]


class LearnedPositions(nn.Module):
    def __init__(self, d_model, max_len=64):
        super().__init__()
        self.table = nn.Embedding(max_len, d_model)

    def forward(self, x):
        return x + self.table(torch.arange(x.size(1), device=x.device))


class LayersEncoder(nn.Module):
    """nn.TransformerEncoder as it comes: post-norm, or pre-norm with GELU."""

    def __init__(self, d_model, norm_first):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            d_model, nhead=2, dim_feedforward=32, dropout=0.0, activation="gelu" if norm_first else "relu",
            batch_first=True, norm_first=norm_first,
        )  # fmt: skip
        norm = nn.LayerNorm(d_model) if norm_first else None
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, norm=norm, enable_nested_tensor=False)

    def forward(self, x, padding):
        return self.encoder(x, src_key_padding_mask=padding)


class AttentionEncoder(nn.Module):
    """nn.MultiheadAttention, sequence first, with the weights that it gives back."""

    def __init__(self, d_model):
        super().__init__()
        self.attn = nn.MultiheadAttention(d_model, num_heads=2, dropout=0.0)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.ff = nn.Sequential(nn.Linear(d_model, 32), nn.ReLU(inplace=True), nn.Linear(32, d_model))

    def forward(self, x, padding):
        x = x.transpose(0, 1)
        attended, self.weights = self.attn(x, x, x, key_padding_mask=padding, need_weights=True)
        x = self.norm1(x + attended)
        return self.norm2(x + self.ff(x)).transpose(0, 1)


class HandEncoder(nn.Module):
    """The lecture's: post-norm, scores masked before the softmax."""

    def __init__(self, d_model, heads=2):
        super().__init__()
        self.heads = heads
        self.wq, self.wk, self.wv, self.wo = (nn.Linear(d_model, d_model, bias=False) for _ in range(4))
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.ff1, self.ff2 = nn.Linear(d_model, 32), nn.Linear(32, d_model)

    def forward(self, x, padding):
        B, T, C = x.shape
        q, k, v = [w(x).reshape(B, T, self.heads, -1).transpose(1, 2) for w in (self.wq, self.wk, self.wv)]
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(C / self.heads)
        scores = scores.masked_fill(padding.unsqueeze(1).unsqueeze(2), torch.finfo(scores.dtype).min)
        x = self.norm1(x + self.wo((F.softmax(scores, dim=-1) @ v).transpose(1, 2).flatten(2)))
        return self.norm2(x + self.ff2(F.relu(self.ff1(x))))


class Classifier(nn.Module):
    def __init__(self, vocab_size, kind, d_model=16):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model, padding_idx=0)
        self.positions = SinusoidalPositions(d_model) if kind == "attention" else LearnedPositions(d_model)
        if kind in ("post-norm", "pre-norm"):
            self.encoder = LayersEncoder(d_model, norm_first=kind == "pre-norm")
        else:
            self.encoder = {"attention": AttentionEncoder, "by hand": HandEncoder}[kind](d_model)
        self.head = nn.Linear(d_model, 2)
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.xavier_uniform_(p)

    def forward(self, ids):
        padding = ids == 0
        x = self.encoder(self.positions(self.tokens(ids) * math.sqrt(self.tokens.embedding_dim)), padding)
        x = x.masked_fill(padding[..., None], 0.0)
        return self.head(x.sum(1) / (~padding).sum(1, keepdim=True))


def main(given, steps, kind):
    words = sorted({w for s, _ in given.sentences for w in s.split()})
    stoi = {w: i + 1 for i, w in enumerate(words)}
    ids = torch.zeros(len(given.sentences), 20, dtype=torch.int64)
    for row, (sentence, _) in enumerate(given.sentences):
        encoded = [stoi[w] for w in sentence.split()][:20]
        ids[row, : len(encoded)] = torch.tensor(encoded)
    labels = torch.tensor([y for _, y in given.sentences])
    model = Classifier(len(stoi) + 1, kind)
    given.fill(model, torch)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1.0))
    losses = []
    for _ in range(steps):
        batch = torch.from_numpy(given.rng.integers(0, len(labels), 16))
        loss = criterion(model(ids[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        probabilities = F.softmax(model(ids[:8]), dim=-1)
    result = {"losses": losses, "probabilities": probabilities.numpy(), "keys": list(model.state_dict())}
    if kind == "attention":
        weights = model.encoder.weights
        result |= {"weights": weights.numpy(), "sums": weights.sum(-1).mean().item(), "shape": tuple(weights.shape)}
    return result


VARIANTS = {
    "post-norm": {"kind": "post-norm"},
    "pre-norm": {"kind": "pre-norm"},
    "attention": {"kind": "attention"},
    "by hand": {"kind": "by hand"},
}
