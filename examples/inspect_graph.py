"""Look into a GPT: train a small one on Shakespeare for some steps, then see what it computes, and why.

    python examples/inspect_graph.py
    python examples/inspect_graph.py --n-layer 6 --page six-blocks.html

It writes a page to open in a browser, with the graph of one more step: forward and backward, to go through step by step
with the numbers of this very model. The terminal shows the same step by modules, where the gradient of the embedding
table comes from, and the size and life of every activation. At last a fault is planted, and the question why a gradient
is missing is answered in words.

It takes two or three seconds.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

import tinygrad_edu as tg
from gpt import GPT, CharTokenizer, GPTConfig, TokenBatches, load_text
from gpt.cli import exit_status
from gpt.ledger import ledger
from tinygrad_edu import inspect
from tinygrad_edu.inspect.trace import writer


@dataclass
class Options:
    steps: int = 50
    """Batches to train on before looking."""
    learning_rate: float = 3e-3
    batch_size: int = 8
    block_size: int = 32
    """Letters that the model sees."""
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 64
    text: str = "shakespeare"
    """A known name, or the path of a UTF-8 text file."""
    page: Path = Path("graph.html")
    """Where to write the page. Other endings write other forms: .json, .svg, .png, .dot, .mmd, .chrome.json."""
    seed: int = 1337


def main(options: Options) -> None:
    for name in ("steps", "batch_size"):
        if getattr(options, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be 1 or more, got {getattr(options, name)}")
    writer(options.page)  # refuses a name that says no form, before the work
    text = load_text(options.text)
    tokenizer = CharTokenizer.from_text(text)
    config = GPTConfig(options.block_size, tokenizer.n_vocab, options.n_layer, options.n_head, options.n_embd)
    batches = iter(TokenBatches(tokenizer.encode_array(text), options.batch_size, options.block_size))

    tg.manual_seed(options.seed)
    model = GPT(config)
    optimizer = model.configure_optimizers(weight_decay=0.1, learning_rate=options.learning_rate, betas=(0.9, 0.99))
    for step in range(1, options.steps + 1):
        _, loss = model(*next(batches))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step in (1, options.steps):
            print(f"step {step:>3}: loss {loss.item():.3f}")

    # One more step, recorded.
    x, y = next(batches)
    optimizer.zero_grad()
    with inspect.trace(values="sample") as trace:
        _, loss = model(x, y)
        loss.backward()
    trace.save(options.page)
    title("What ran")
    print(trace.summary())

    # The table is used twice, to embed the letters and to score the next one: whose gradient is it?
    title("Where the gradient of wte.weight comes from")
    print(inspect.receipt(model(x, y)[1], model.wte.weight))

    title("What it keeps in memory, and how long")
    print(ledger(config, options.batch_size, model=model))

    # The fault: attention of the last block is cut off from what it was computed from.
    attention = model.h[-1].attn
    forward = attention.forward
    attention.forward = lambda *inputs: forward(*inputs).detach()
    title(f"Why does h.{config.n_layer - 1}.attn.c_attn.weight get no gradient?")
    print(inspect.explain(lambda: model(x, y)[1], attention.c_attn.weight))

    print(f"\nThe page: {options.page}")


def title(words: str) -> None:
    print(f"\n{words}\n{'-' * len(words)}")


if __name__ == "__main__":
    program = "python examples/inspect_graph.py"
    sys.exit(exit_status(lambda: main(tyro.cli(Options, prog=program, description=__doc__)), program))
