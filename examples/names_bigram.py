"""Which letter follows which? A bigram model of Polish first names, made twice: by counting, and by gradient descent.

    python examples/names_bigram.py
    python examples/names_bigram.py --steps 100 --most-common 500

The names are the 2,000 commonest of women and of men in the Polish register of persons. Each name counts once, however
many people bear it. Both models hold one number for each pair of letters, so the best of each is the same model: counts
give it at once, and a network of one layer finds it step by step.

Measured: 3,958 names, 55 letters: loss 2.4726 by counts, 2.4728 by the network after 500 steps, about 9 s on one core;
a guess at random loses 4.0073. With the same random numbers both make up the same names.
"""

import csv
import math
import sys
from dataclasses import dataclass

import tyro

import tinygrad_edu as tg
import tinygrad_edu.nn.functional as F
from gpt import load_text
from gpt.cli import exit_status

END = "."  # stands before the first letter of a name and after the last


@dataclass
class Options:
    steps: int = 500
    """Steps of gradient descent."""
    learning_rate: float = 0.3
    """How far Adam moves each number in a step, at most."""
    most_common: int = 2000
    """How many names of each sex to take."""
    samples: int = 10
    """Names to make up at the end."""
    seed: int = 42


def read_names(most_common: int) -> list[str]:
    """The commonest names of women and men, each once. The register is ordered: the commonest name stands first."""
    if most_common < 1:
        raise ValueError(f"--most-common must be 1 or more, got {most_common}")
    names = []
    for table in ("names-pl-female", "names-pl-male"):
        rows = list(csv.reader(load_text(table).splitlines()))[1:]  # without the header
        names += [name for name, _sex, _count in rows[:most_common]]
    return list(dict.fromkeys(names))  # some are borne by women and men


def letters_of(names: list[str]) -> list[str]:
    """The alphabet; a letter's number is its place. END is number 0."""
    return [END, *sorted(set("".join(names)) - {END})]


def sample_name(probabilities: tg.Tensor, letters: list[str], generator: tg.Generator) -> str:
    """Letters drawn one after another from the row of the letter before, until END."""
    name, ix = "", 0
    while True:
        ix = tg.multinomial(probabilities[ix], num_samples=1, generator=generator).item()
        if ix == 0:
            return name
        name += letters[ix]


def main(options: Options) -> None:
    if options.steps < 1:
        raise ValueError(f"--steps must be 1 or more, got {options.steps}")
    names = read_names(options.most_common)
    letters = letters_of(names)
    number = {letter: i for i, letter in enumerate(letters)}
    size = len(letters)
    pairs = [(number[a], number[b]) for name in names for a, b in zip(END + name, name + END, strict=True)]
    xs, ys = tg.tensor(pairs).unbind(1)  # each letter (N,), and the one after it (N,)
    print(f"{len(names):,} names, {size} letters, {len(pairs):,} pairs; a guess at random loses {math.log(size):.4f}")

    # Counting: row a holds how often each letter follows a.
    N = tg.zeros((size, size))
    N.index_put_((xs, ys), tg.ones(len(pairs)), accumulate=True)  # N[a, b] += 1 for each pair
    P = N / N.sum(1, keepdim=True)
    counted = -P[xs, ys].log().mean()
    print(f"counts:  loss {counted.item():.4f}")

    # A network of one layer: the row of W that belongs to a letter holds the logarithms of its counts, to be found.
    generator = tg.Generator().manual_seed(options.seed)
    W = tg.randn((size, size), generator=generator, requires_grad=True)
    optimizer = tg.optim.Adam([W], lr=options.learning_rate)
    xenc = F.one_hot(xs, num_classes=size).float()  # (N, V): one 1 in each row, so that xenc @ W picks rows of W
    for step in range(1, options.steps + 1):
        logits = xenc @ W  # (N, V)
        counts = logits.exp()
        probs = counts / counts.sum(1, keepdim=True)  # softmax
        loss = -probs[tg.arange(len(pairs)), ys].log().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0 or step == options.steps:
            print(f"network: loss {loss.item():.4f} at step {step}")

    print("\nmade up by counts and by the network, with the same random numbers:")
    for model in (P, F.softmax(W.detach(), dim=1)):
        generator.manual_seed(options.seed)
        print("  " + ", ".join(sample_name(model, letters, generator) for _ in range(options.samples)))


if __name__ == "__main__":
    program = "python examples/names_bigram.py"
    sys.exit(exit_status(lambda: main(tyro.cli(Options, prog=program, description=__doc__)), program))
