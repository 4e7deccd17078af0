"""Train a GPT on Shakespeare, and read what it writes.

    python examples/train_shakespeare.py                             # minutes on a laptop
    python examples/train_shakespeare.py --preset full               # ten times the parameters, a day
    python examples/train_shakespeare.py --max-iters 500 --n-layer 2
    python examples/train_shakespeare.py --resume runs/shakespeare   # go on where it was stopped

`--help` lists all options.
"""

import sys
from dataclasses import replace
from pathlib import Path

import tinygrad_edu as tg
from gpt import GPT, Trainer, cli, find_text, load_model, make_tokenizer, prepare_tokens, stream_text

PROGRAM = f"{cli.python()} examples/train_shakespeare.py"


def main() -> None:
    options = cli.parse(cli.Train, sys.argv[1:], PROGRAM)
    trainer = Trainer.resume(options.resume, **options.changes()) if options.resume else new_trainer(options.training)
    trainer.run(overwrite=options.overwrite)

    print("\nA sample:\n")
    for piece in stream_text(trainer.model, trainer.tokenizer, max_new_tokens=500, temperature=0.8):
        print(piece, end="", flush=True)
    folder = Path(trainer.config.out_dir)
    print(f"\n\nLoss:    {folder / 'loss.png'}\nMore:    {cli.python()} -m gpt sample {folder} --prompt ROMEO:")


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
