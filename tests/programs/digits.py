"""Handwritten digits: an MLP, convolutional networks of several kinds, and patches cut out with Unfold."""

import torch
import torch.nn as nn
import torch.nn.functional as F
import torch.optim as optim
from torch.utils.data import DataLoader, TensorDataset


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.stack = nn.Sequential(
            nn.Linear(8 * 8, 32), nn.ReLU(), nn.Linear(32, 32), nn.LeakyReLU(0.1), nn.Linear(32, 10)
        )

    def forward(self, x):
        return self.stack(self.flatten(x))


class Net(nn.Module):
    """In the style of the first example of every course: convolutions, pooling as functions, log_softmax."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, 1)
        self.conv2 = nn.Conv2d(6, 12, 3, padding=1)
        self.dropout = nn.Dropout(0.0)
        self.fc1 = nn.Linear(108, 24)
        self.fc2 = nn.Linear(24, 10)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = torch.flatten(x, 1)
        x = self.dropout(F.relu(self.fc1(x)))
        return self.fc2(x)


class Residual(nn.Module):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, kernel_size=3, padding=1, bias=False, groups=2)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.shortcut = nn.Sequential(
            nn.Conv2d(c_in, c_out, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(c_out)
        )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class Rows(nn.Module):
    """The rows of the image as channels of a signal: Conv1d and pooling."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(8, 16, 3, padding="same"), nn.Tanh(), nn.MaxPool1d(2), nn.Conv1d(16, 16, 2, dilation=2), nn.ReLU()
        )
        self.out = nn.Linear(32, 10)

    def forward(self, x):
        return self.out(self.conv(x.squeeze(1)).flatten(1))


class Patches(nn.Module):
    """Cut into patches, each embedded, and averaged, as the first layer of a vision transformer."""

    def __init__(self):
        super().__init__()
        self.unfold = nn.Unfold(kernel_size=4, stride=2)
        self.embed = nn.Linear(16, 24)
        self.norm = nn.LayerNorm(24)
        self.place = nn.Parameter(torch.zeros(1, 9, 24))
        self.out = nn.Linear(24, 10)

    def forward(self, x):
        x = self.unfold(x).transpose(1, 2)
        x = F.gelu(self.norm(self.embed(x) + self.place))
        return self.out(x.amax(dim=1))


def make(kind):
    if kind == "residual":
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
            Residual(4, 8), Residual(8, 8, 2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 10),
        )  # fmt: skip
    return {"mlp": MLP, "net": Net, "rows": Rows, "patches": Patches}[kind]()


def main(given, steps, kind):
    images = torch.tensor(given.digits[:, :64] / 16.0, dtype=torch.float32).reshape(-1, 1, 8, 8)
    labels = torch.tensor(given.digits[:, 64])
    train = TensorDataset(images[:320], labels[:320])
    loader = DataLoader(train, batch_size=32, sampler=given.rng.permutation(320).tolist())
    model = make(kind)
    given.fill(model, torch)
    criterion = nn.CrossEntropyLoss()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=steps + 1)
    losses = []
    while len(losses) < steps:
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = criterion(model(inputs), targets)
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    model.eval()
    with torch.no_grad():
        outputs = model(images[320:])
        _, predicted = torch.max(outputs.data, 1)
        correct = predicted.eq(labels[320:].view_as(predicted)).sum().item()
    return {"losses": losses, "correct": correct, "keys": list(model.state_dict()),
            "outputs": torch.log_softmax(outputs, 1)[:5].numpy()}  # fmt: skip


VARIANTS = {
    "mlp": {"kind": "mlp"},
    "net": {"kind": "net"},
    "residual": {"kind": "residual"},
    "rows": {"kind": "rows"},
    "patches": {"kind": "patches"},
}
