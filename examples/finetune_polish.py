"""Learn Polish from a novel, then verse from a poem: pre-training, new letters, fine-tuning, and what is forgotten.

    python examples/finetune_polish.py
    python examples/finetune_polish.py --steps 5000 --n-embd 128

A small GPT reads Sienkiewicz's novel Potop letter by letter. Mickiewicz's poem Pan Tadeusz has a few characters that
the novel lacks: each gets a number after the old ones and a new row of the embedding, and all other weights stay. Then
the model is trained on the poem. Beside it, a model that never saw the novel is trained on the poem for as many steps.

Measured, validation loss after 3,000 steps on the novel and 600 on the poem, about three minutes on one busy core:

                       novel     poem
    after the novel   1.8279   2.2880   eight new characters are still unknown
    after the poem    2.1417   1.9441   the novel is partly forgotten
    the poem alone    2.6928   2.4017   600 steps without the novel
"""

import sys
import time
from dataclasses import dataclass, replace

import numpy as np
import tyro

import tinygrad_edu as tg
from gpt import GPT, CharTokenizer, GPTConfig, TokenBatches, load_text, stream_text
from gpt.cli import exit_status
from gpt.data import split_text

WARMUP = 100  # steps, at most, in which the learning rate rises to its value
HELD_OUT = 50_000  # characters of each text that losses are measured on


@dataclass
class Options:
    steps: int = 3000
    """Steps on the novel."""
    finetune_steps: int = 600
    """Steps on the poem."""
    learning_rate: float = 2e-3
    finetune_learning_rate: float = 1e-3
    batch_size: int = 24
    block_size: int = 64
    n_layer: int = 3
    n_head: int = 4
    n_embd: int = 64
    sample: int = 300
    """Characters to write with each model."""
    seed: int = 1337


def train(model: GPT, tokens: np.ndarray, steps: int, learning_rate: float, o: Options, what: str) -> None:
    """AdamW on random windows; the learning rate rises in the first steps and falls to nothing at the end."""
    optimizer = model.configure_optimizers(0.1, learning_rate, (0.9, 0.99))
    warmup = min(WARMUP, steps // 10 + 1)
    rise = tg.optim.lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup)
    fall = tg.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - warmup))
    schedule = tg.optim.lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[warmup])
    batches = TokenBatches(tokens, o.batch_size, o.block_size, generator=tg.Generator().manual_seed(o.seed))
    started = time.perf_counter()
    for step, (x, y) in zip(range(1, steps + 1), batches, strict=False):
        _, loss = model(x, y)
        optimizer.zero_grad()
        loss.backward()
        tg.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == steps:
            print(f"  {what}, step {step:,}: batch {loss.item():.4f}, {time.perf_counter() - started:.0f} s")


@tg.no_grad()
def loss_on(model: GPT, tokens: np.ndarray) -> float:
    """The mean loss over a text, in windows side by side."""
    batches = TokenBatches(tokens, 128, model.config.block_size).in_order()
    losses = [(model(x, y)[1].item(), y.numel()) for x, y in batches]
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)


def extended(model: GPT, tokenizer: CharTokenizer, text: str) -> tuple[GPT, CharTokenizer]:
    """Model and tokenizer that know the text's characters too: as before, with new rows below the old ones."""
    new = sorted(set(text) - set(tokenizer.vocabulary))
    wider_tokenizer = CharTokenizer(tokenizer.vocabulary + "".join(new))  # old numbers stay
    wider = GPT(replace(model.config, vocab_size=wider_tokenizer.n_vocab))  # all rows are drawn at random,
    old = dict(model.named_parameters())
    with tg.no_grad():
        for name, p in wider.named_parameters():
            p[: len(old[name])] = old[name]  # and the old ones written over; only wte has more rows than before
    print(f"\nnew characters in the poem: {' '.join(new)}")
    return wider, wider_tokenizer


def show(model: GPT, tokenizer: CharTokenizer, prompt: str, o: Options) -> None:
    pieces = stream_text(model, tokenizer, prompt, o.sample, temperature=0.8,
                         generator=tg.Generator().manual_seed(o.seed))  # fmt: skip
    print("  | " + (prompt + "".join(pieces)).replace("\n", "\n  | ") + "\n")


def main(o: Options) -> None:
    if o.steps < 1 or o.finetune_steps < 1:
        raise ValueError("--steps and --finetune-steps must be 1 or more")
    novel, poem = load_text("potop"), load_text("pan-tadeusz")
    tokenizer = CharTokenizer.from_text(novel)
    config = GPTConfig(o.block_size, tokenizer.n_vocab, o.n_layer, o.n_head, o.n_embd)
    tg.manual_seed(o.seed)
    model = GPT(config)
    print(f"{model.num_params(non_embedding=False):,} parameters, {tokenizer.n_vocab} characters")

    train(model, tokenizer.encode_array(split_text(novel)[0]), o.steps, o.learning_rate, o, "novel")
    show(model, tokenizer, "\n", o)

    model, tokenizer = extended(model, tokenizer, poem)
    poem_train, poem_val = (tokenizer.encode_array(part) for part in split_text(poem))
    novel_val = tokenizer.encode_array(split_text(novel)[1][:HELD_OUT])
    poem_val = poem_val[:HELD_OUT]

    table = [("after the novel", loss_on(model, novel_val), loss_on(model, poem_val))]
    train(model, poem_train, o.finetune_steps, o.finetune_learning_rate, o, "poem")
    table.append(("after the poem", loss_on(model, novel_val), loss_on(model, poem_val)))
    show(model, tokenizer, "\n", o)

    alone = GPT(model.config)
    train(alone, poem_train, o.finetune_steps, o.learning_rate, o, "the poem alone")
    table.append(("the poem alone", loss_on(alone, novel_val), loss_on(alone, poem_val)))

    print("\nvalidation loss       novel     poem")
    for when, on_novel, on_poem in table:
        print(f"{when:18s} {on_novel:8.4f} {on_poem:8.4f}")


if __name__ == "__main__":
    program = "python examples/finetune_polish.py"
    sys.exit(exit_status(lambda: main(tyro.cli(Options, prog=program, description=__doc__)), program))
