"""Bengio's network on Polish first names: the next letter from the three before, each as a point in ten dimensions.

    python examples/names_mlp.py
    python examples/names_mlp.py --steps 2000 --hidden-layer-size 100

Source: Bengio, Ducharme, Vincent, Jauvin 2003, "A Neural Probabilistic Language Model". The names are those of
names_bigram.py, shuffled and split: eight tenths to train on, one tenth (dev) to choose settings by, and one tenth
(test) to look at once, at the end.

Measured: 20,000 steps take about 11 s on one core and end at a loss of 1.8973 on train, 2.1956 on dev and 2.2087 on
test, where the bigram model ends at 2.47.
"""

import random
import sys
import time
from dataclasses import dataclass

import tyro
from names_bigram import END, letters_of, read_names

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt.cli import exit_status

BLOCK_SIZE = 3  # letters that the network sees
BATCH_SIZE = 32
EMBEDDING_DIMENSION = 10
HIDDEN_LAYER_SIZE = 200


@dataclass
class Options:
    steps: int = 20_000
    """Batches to train on; the learning rate is a tenth in the last half."""
    learning_rate: float = 0.1
    block_size: int = BLOCK_SIZE
    batch_size: int = BATCH_SIZE
    embedding_dimension: int = EMBEDDING_DIMENSION
    hidden_layer_size: int = HIDDEN_LAYER_SIZE
    most_common: int = 2000
    """How many names of each sex to take."""
    samples: int = 10
    """Names to make up at the end."""
    seed: int = 42


def examples_of(names: list[str], number: dict[str, int], block_size: int) -> tuple[tg.Tensor, tg.Tensor]:
    """Every place in every name: the letters before it (N, block_size), and the letter there (N,)."""
    X, Y = [], []
    for name in names:
        context = [0] * block_size
        for letter in name + END:
            X.append(context)
            Y.append(number[letter])
            context = [*context[1:], number[letter]]
    return tg.tensor(X), tg.tensor(Y)


def main(options: Options) -> None:
    for name in ("steps", "block_size", "batch_size", "embedding_dimension", "hidden_layer_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(options, name)}")
    names = read_names(options.most_common)
    letters = letters_of(names)
    number = {letter: i for i, letter in enumerate(letters)}
    size, T, C = len(letters), options.block_size, options.embedding_dimension
    random.Random(options.seed).shuffle(names)
    n1, n2 = int(0.8 * len(names)), int(0.9 * len(names))
    if not 0 < n1 < n2 < len(names):
        raise ValueError(f"--most-common {options.most_common} gives {len(names)} names, too few to split in three")
    split = {
        part: examples_of(chosen, number, T)
        for part, chosen in (("train", names[:n1]), ("dev", names[n1:n2]), ("test", names[n2:]))
    }
    print("; ".join(f"{part}: {len(Y):,} letters" for part, (_, Y) in split.items()))

    # The parameters. The scales keep tanh away from its flat ends, and the first guesses near to even.
    g = tg.Generator().manual_seed(options.seed)
    C_table = tg.randn((size, C), generator=g)  # each letter's point
    W1 = tg.randn((T * C, options.hidden_layer_size), generator=g) * (5 / 3) / (T * C) ** 0.5
    b1 = tg.zeros(options.hidden_layer_size)
    W2 = tg.randn((options.hidden_layer_size, size), generator=g) * 0.01
    b2 = tg.zeros(size)
    parameters = [C_table, W1, b1, W2, b2]
    for p in parameters:
        p.requires_grad_()
    print(f"{sum(p.numel() for p in parameters):,} parameters")

    def logits_of(X: tg.Tensor) -> tg.Tensor:
        emb = C_table[X]  # (B, T, C)
        h = tg.tanh(emb.view(-1, T * C) @ W1 + b1)  # (B, hidden)
        return h @ W2 + b2  # (B, V)

    @tg.no_grad()
    def loss_of(part: str) -> float:
        X, Y = split[part]
        return F.cross_entropy(logits_of(X), Y).item()

    X, Y = split["train"]
    started = time.perf_counter()
    for step in range(1, options.steps + 1):
        ix = tg.randint(0, len(Y), (options.batch_size,), generator=g)
        loss = F.cross_entropy(logits_of(X[ix]), Y[ix])
        for p in parameters:
            p.grad = None
        loss.backward()
        learning_rate = options.learning_rate if step <= options.steps / 2 else options.learning_rate / 10
        for p in parameters:
            p.data += -learning_rate * p.grad
        if step % 2000 == 0 or step == options.steps:
            seconds = time.perf_counter() - started
            print(f"step {step:6,}: train {loss_of('train'):.4f}, dev {loss_of('dev'):.4f}, {seconds:.0f} s")
    print(f"test: {loss_of('test'):.4f}\n\nmade up:")

    with tg.no_grad():
        for _ in range(options.samples):
            context, name = [0] * T, ""
            while not name.endswith(END):
                probabilities = F.softmax(logits_of(tg.tensor([context])), dim=1)
                ix = tg.multinomial(probabilities, num_samples=1, generator=g).item()
                context, name = [*context[1:], ix], name + letters[ix]
            print(f"  {name[:-1]}")


if __name__ == "__main__":
    program = "python examples/names_mlp.py"
    sys.exit(exit_status(lambda: main(tyro.cli(Options, prog=program, description=__doc__)), program))
