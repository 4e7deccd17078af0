"""Train a GPT on Shakespeare, and read what it writes.

    python examples/train_shakespeare.py                             # a minute on a laptop
    python examples/train_shakespeare.py --preset full-fast          # ten times the parameters, less than an hour
    python examples/train_shakespeare.py --max-iters 500 --n-layer 2
    python examples/train_shakespeare.py --resume runs/shakespeare   # go on where it was stopped

`--help` lists all options.
"""

import sys
from dataclasses import replace
from pathlib import Path

import tinygrad_edu as tg
from gpt import GPT, Trainer, cli, find_text, load_model, make_tokenizer, prepare_tokens

PROGRAM = f"{cli.python()} examples/train_shakespeare.py"


def main() -> None:
    options = cli.parse(cli.Train, sys.argv[1:], PROGRAM)
    cli.train(options, new_trainer)  # trains, or goes on; then shows a sample, where the plot is, and how to get more


def new_trainer(config):
    # The text: from TINYGRAD_EDU_DATA, the cache, the network or a package, whichever has it.
    text = find_text(config.dataset)

    # The model: random weights for as many tokens as the tokenizer has, or weights from an earlier run or GPT-2.
    tg.manual_seed(config.seed)
    if config.init_from == "scratch":
        tokenizer = make_tokenizer(config.tokenizer, text)
        model = GPT(replace(config.model, vocab_size=tokenizer.n_vocab))
    else:
        model, tokenizer = load_model(config.init_from, config.model.block_size, config.model.dropout)

    # The data: nine tenths of the text to train on, the rest to validate on, as token ids in two files.
    train, val = prepare_tokens(text, tokenizer, Path(config.out_dir) / "tokens")

    return Trainer(config, model, tokenizer, train, val, source=text.source)


if __name__ == "__main__":
    sys.exit(cli.exit_status(main, PROGRAM))
