"""Autoencoders of digit images: a variational one, its noise handed in, and one of (transposed) convolutions."""

import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.nn.utils import parameters_to_vector
from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __init__(self, table, transform=None):
        self.images = torch.as_tensor(table[:, :64], dtype=torch.float32).div(16).view(-1, 1, 8, 8)
        self.labels = torch.as_tensor(table[:, 64])
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        image = self.images[i]
        return {"image": image if self.transform is None else self.transform(image), "label": self.labels[i].item()}


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(64, 32)
        self.fc21 = nn.Linear(32, 4)
        self.fc22 = nn.Linear(32, 4)
        self.fc3 = nn.Linear(4, 32)
        self.fc4 = nn.Linear(32, 64)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def reparameterize(self, mu, logvar, eps):
        std = torch.exp(0.5 * logvar)
        return mu + eps * std

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x, eps):
        mu, logvar = self.encode(x.view(-1, 64))
        return self.decode(self.reparameterize(mu, logvar, eps)), mu, logvar


class ConvAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.GroupNorm(3, 12),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(12, 8, 2, stride=2), nn.PReLU(), nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.ZeroPad2d(1), nn.Conv2d(8, 1, 3), nn.Hardtanh(0, 1),
        )  # fmt: skip

    def forward(self, x):
        return self.decoder(self.encoder(x))


def noisy(image):
    return torch.clamp(image + 0.05 * torch.cos(40 * image), 0.0, 1.0)


def vae_loss(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x.view(-1, 64), reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def main(given, steps, kind):
    loader = DataLoader(Digits(given.digits, transform=noisy), batch_size=32, shuffle=False, drop_last=True)
    model = VAE() if kind == "variational" else ConvAutoencoder()
    given.fill(model, torch)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    scheduler = optim.lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=20)
    losses, seen = [], 0
    while len(losses) < steps:
        for batch in loader:
            image = batch["image"]
            if kind == "variational":
                eps = torch.from_numpy(given.rng.standard_normal((len(image), 4)).astype("float32"))
                recon, mu, logvar = model(image, eps)
                loss = vae_loss(recon, image, mu, logvar) / len(image)
            else:
                recon = model(image)
                loss = (
                    F.mse_loss(recon, image) + 0.1 * F.smooth_l1_loss(recon, image) + 0.1 * F.huber_loss(recon, image)
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            seen += int(batch["label"].numel())
            if len(losses) == steps:
                break
    model.eval()
    with torch.no_grad():
        images = torch.stack([Digits(given.digits)[i]["image"] for i in range(3)])
        out = model(images, torch.zeros(3, 4))[0] if kind == "variational" else model(images)
    return {
        "losses": losses,
        "out": out.reshape(3, -1).numpy(),
        "length": parameters_to_vector(model.parameters()).numel(),
        "seen": seen,
        "lr": scheduler.get_last_lr()[0],
        "labels": batch["label"].tolist(),
        "keys": list(model.state_dict()),
    }


VARIANTS = {"variational": {"kind": "variational"}, "convolutions": {"kind": "convolutions"}}
