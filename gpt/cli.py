"""The command line: `python -m gpt train | plan | sample | info | ledger`. Options are the fields of the dataclasses.

Exit status: 0 for success, 1 for an error, 2 for a wrong option, 130 or 143 when stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import tyro

from .config import PRESETS, SIZES, GPTConfig, TrainConfig, preset

if TYPE_CHECKING:
    from .trainer import Trainer

# What computes is imported where it is used, so that --help and a mistyped option are answered at once.

TRACEBACK = "GPT_TRACEBACK"  # the environment variable that shows where an error comes from


@dataclass
class Train:
    """Train a GPT on a text, or go on with a run that was stopped."""

    training: TrainConfig
    preset: Literal["laptop-fast", "laptop", "full-fast", "full", "gpt2"] = "laptop-fast"
    """Where the values of all other options come from. laptop-fast: a minute on a CPU; full-fast: 10.7 million
    parameters, less than an hour; laptop, full: nanoGPT's recipes for these two; gpt2: 124 million parameters."""
    resume: str | None = None
    """Go on with the run in this folder as if it had not stopped. Of the other options only max-iters, eval-interval,
    eval-iters, final-eval-iters, log-interval, sample-tokens, health, recompute and device can have other values."""
    overwrite: bool = False
    """Start anew in a folder that holds a run, which is lost."""
    profile: bool = False
    """Do not train, but show where the time of a step goes, by part, module and operation, as measured on some steps
    that are then forgotten. Writes profile.chrome.json into out-dir, and leaves a run there as it is."""
    plan: bool = True
    """Measure first for at most two seconds, say how long the run will take and how much memory, and at its end how far
    off that was. The training is the same without. Runs of less than a few seconds are not planned."""

    def changes(self) -> dict[str, Any]:
        """The options that differ from those of the run to resume."""
        assert self.resume
        before, now = (_flat(c) for c in (_settings_of(self.resume), self.training))
        return {name: value for name, value in now.items() if value != before[name]}


@dataclass
class Plan:
    """Measure this machine for about two seconds, and say how long a run would take and how much memory."""

    training: TrainConfig
    preset: Literal["laptop-fast", "laptop", "full-fast", "full", "gpt2"] = "laptop-fast"
    """Where the values of all other options come from, as in train."""


@dataclass
class Sample:
    """Write text with a trained model, as it comes."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A run's folder, a checkpoint, or GPT-2's weights in Hugging Face's layout: a folder or .safetensors file."""
    prompt: str = ""
    """Text to go on from; nothing to begin a new text."""
    max_new_tokens: int = 500
    """Length of each sample in tokens."""
    num_samples: int = 1
    """Number of samples."""
    temperature: float = 0.8
    """Below 1 is safer, above 1 bolder."""
    top_k: int | None = 200
    """Choose among this many most likely tokens; None for all."""
    top_p: float | None = None
    """Choose among the most likely tokens that together have this probability."""
    greedy: bool = False
    """Always choose the most likely token."""
    seed: int = 1337
    """The same seed writes the same text each time, another seed another text."""
    device: str = "cpu"
    """Where to compute: cpu, or cuda for a GPU."""


@dataclass
class Info:
    """Show the configuration, parameters, memory and work of a model."""

    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")]
    """A preset (see train), a published size (gpt2-medium, gpt2-large, gpt2-xl), a run's folder, a checkpoint,
    or GPT-2's weights."""


@dataclass
class Ledger:
    """Show every activation of a training step by llm.c's names: what it should weigh, what it weighs, and when it is
    alive. It runs one step on random tokens."""

    preset: Annotated[str, tyro.conf.arg(metavar="NAME")] = "gpt2"
    """The model's shape: that of a preset (see train), of a published size, or of a run's folder, as in info."""
    batch_size: int | None = None
    """Sequences (B); if not given, the preset's."""
    block_size: int | None = None
    """Tokens in each (T); if not given, the preset's."""
    reference: bool = False
    """Run the readable ops, not the fused kernels."""
    plot: str | None = None
    """Also draw it to this file, .png or .svg."""


# What is parsed is checked once it is whole, where a wrong value can be told in the words of the options.


@dataclass
class _Shape(GPTConfig):
    """The shape of the model."""

    vocab_size: tyro.conf.Suppress[int] = 1  # no option: the tokenizer says

    def __post_init__(self) -> None:
        pass


@dataclass
class _Run(TrainConfig):
    """A training run."""

    def __post_init__(self) -> None:
        pass


Options = TypeVar("Options", Train, Plan, Sample, Info, Ledger)


def parse(command: type[Options], args: Sequence[str], program: str) -> Options:
    """The options given by `args`. SystemExit: --help (0) or a wrong option (2), after saying so.

    FileNotFoundError, ValueError: the run to resume cannot be read.
    """
    if os.environ.get("NO_COLOR"):
        tyro._experimental_options["ansi_codes"] = False
    args = _separated(args)
    settings: Any = {"prog": program, "args": args, "config": (tyro.conf.OmitArgPrefixes,)}
    if command not in (Train, Plan):
        return tyro.cli(command, **settings)
    resume = _value_of("--resume", args) if command is Train else None
    name = _value_of("--preset", args)
    if resume and name:
        raise ValueError("a run that goes on keeps its settings; give --resume without --preset")
    base = _settings_of(resume) if resume else preset(name if name in PRESETS else Train.preset)
    make: Any = command
    default = make(_Run(**{**vars(base), "model": _Shape(**vars(base.model))}))
    options: Any = tyro.cli(command, default=default, **settings)
    try:
        shape = GPTConfig(**vars(options.training.model))
        options.training = TrainConfig(**{**vars(options.training), "model": shape})
    except ValueError as error:
        print(f"error: {in_options(str(error))}\nAll options: {program} --help", file=sys.stderr)
        raise SystemExit(2) from None
    return options


def main(args: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    args = sys.argv[1:] if args is None else list(args)
    program = "gpt" if Path(sys.argv[0]).stem == "gpt" else f"{python()} -m gpt"
    if args and args[0] in COMMANDS:
        command, do = COMMANDS[args[0]]
        program += f" {args[0]}"
        return exit_status(lambda: do(parse(command, args[1:], program)), program)
    commands: Any = Annotated[Train, tyro.conf.subcommand("train", default=Train(preset(Train.preset)))]
    commands |= Annotated[Plan, tyro.conf.subcommand("plan", default=Plan(preset(Plan.preset)))]
    commands |= Annotated[Sample, tyro.conf.subcommand("sample")]
    commands |= Annotated[Info, tyro.conf.subcommand("info")]
    commands |= Annotated[Ledger, tyro.conf.subcommand("ledger")]
    about = f"Train GPTs, let them write, describe them. The variable {TRACEBACK}=1 shows where an error comes from."
    # This shows the commands, or says that what was given is none of them.
    tyro.cli(commands, prog=program, args=args, description=about)
    raise AssertionError("no command, yet no error")


def exit_status(work: Callable[[], object], program: str) -> int:
    """Do the work; a user's error becomes one line on stderr. Returns the exit status."""
    try:
        work()
        return 0
    except KeyboardInterrupt as stop:
        if str(stop):
            folder = getattr(stop, "folder", None)
            print(f"{stop}." + (f" Go on with: {program} --resume {folder}" if folder else ""), file=sys.stderr)
        return 128 + getattr(stop, "signum", 2)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        return 0
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        if os.environ.get(TRACEBACK):
            raise
        print(f"error: {in_options(str(error))}", file=sys.stderr)
        return 1


def in_options(message: str) -> str:
    """A message of the library in the words of the command line: "--n-head 3" for "n_head=3"."""
    names = {f.name for cls in (GPTConfig, TrainConfig, Sample) for f in fields(cls)} - {"model", "vocab_size"}
    long, short = ("|".join(sorted(n for n in names if ("_" in n) == two)) for two in (True, False))
    message = re.sub(r"^(GPTConfig|TrainConfig|generate|ledger): ", "", message).replace("do_sample=False", "--greedy")
    pattern = rf"(?<![\w/'.-])(?:({long})|({short})(?==| must))(?![\w/'.-])(=?)"
    return re.sub(pattern, lambda m: f"--{(m[1] or m[2]).replace('_', '-')}{' ' if m[3] else ''}", message)


def python() -> str:
    """How to call this Python again: by its path if it is in a folder below, such as .venv, else just `python`."""
    path = Path(sys.executable)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else "python"


def train(options: Train, start: Callable[[TrainConfig], Trainer] | None = None) -> None:
    """`gpt train`: a run, and then a sample on stdout. start: how to make a new trainer, if not by `Trainer.start`."""
    from .trainer import Trainer, check_device, check_no_run_in

    try:
        check_device(options.training.device)  # before a text is looked for, which may take long
    except ValueError as error:
        if not options.resume or "device" in options.changes():
            raise
        raise ValueError(f"{error}; {options.resume} was trained there: --device cpu goes on here") from None
    if options.profile:
        profile(options, start or Trainer.start)
        return
    if options.resume:
        trainer = Trainer.resume(options.resume, **options.changes())
    else:
        if not options.overwrite:
            check_no_run_in(options.training.out_dir)
        trainer = (start or Trainer.start)(options.training)
    trainer.run(overwrite=options.overwrite, plan=options.plan)
    show_result(trainer)


def profile(options: Train, start: Callable[[TrainConfig], Trainer]) -> None:
    """`gpt train --profile`: the profile on stdout, progress on stderr. A new run's token files are thrown away."""
    from .profile import run
    from .trainer import Trainer

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if options.resume:
            trainer = Trainer.resume(options.resume, **options.changes())
            out_dir = trainer.config.out_dir
        else:
            out_dir = options.training.out_dir
            trainer = start(replace(options.training, out_dir=folder))
        print(run(trainer, out_dir, lambda message: print(message, file=sys.stderr)))


def show_result(trainer: Trainer) -> None:
    """A sample of a trained model, where its plot is, and how to get more text."""
    import tinygrad_edu as tg

    from .report import PLOT
    from .sampling import stream_text

    config = trainer.config
    if config.sample_tokens:
        print("\nA sample:\n")
        piece = ""
        generator = tg.Generator().manual_seed(config.seed)
        for piece in stream_text(trainer.model, trainer.tokenizer, "", 500, temperature=0.8, generator=generator):
            print(piece, end="", flush=True)
        print("...\n" if piece[-1:].isalnum() else "\n")  # a word may be cut off
    plot = Path(config.out_dir) / PLOT
    if plot.is_file():
        print(f"Loss:    {plot}")
    prompt = "ROMEO:" if config.dataset == "shakespeare" else "..."
    device = "" if config.device == "cpu" else f" --device {config.device}"
    print(f"More:    {python()} -m gpt sample {config.out_dir} --prompt {prompt}{device}")


def sample(options: Sample) -> None:
    """`gpt sample`: the text on stdout, all else on stderr."""
    import tinygrad_edu as tg

    from .sampling import load_model, stream_text
    from .trainer import check_device

    check_device(options.device)
    if options.num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {options.num_samples}")
    model, tokenizer = load_model(options.model)
    model.to(options.device)
    generator = tg.Generator().manual_seed(options.seed)
    for number in range(1, options.num_samples + 1):
        pieces = stream_text(
            model, tokenizer, options.prompt, options.max_new_tokens, temperature=options.temperature,
            top_k=options.top_k, top_p=options.top_p, do_sample=not options.greedy, generator=generator,
        )  # fmt: skip
        if options.num_samples > 1:
            sys.stdout.write(f"=== sample {number} of {options.num_samples} ===\n")
        sys.stdout.write(options.prompt)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
    sys.stdout.flush()
    if not options.greedy:
        print(f"seed {options.seed}; --seed N writes another", file=sys.stderr)


def info(options: Info) -> None:
    """`gpt info`."""
    run, about = _described(options.model)
    shape = run.model
    parameters = _parameters(shape)
    n = sum(parameters.values())
    tokens = run.batch_size * run.gradient_accumulation_steps * shape.block_size
    # As GPT.estimate_flops, per token: forward and backward of every weight, and of attention.
    flops = 6 * (n - shape.block_size * shape.n_embd) + 12 * shape.n_layer * shape.n_embd * shape.block_size
    rows = [f"{name:<16}{count:>14,}" for name, count in {**parameters, "all": n}.items()]
    sections = {
        "": about,
        "model": [f"{name:<16}{value!s:>14}" for name, value in asdict(shape).items()],
        "parameters": rows,
        "memory, float32": [
            f"{'weights':<16}{_mebibytes(4 * n)}",
            f"{'while training':<16}{_mebibytes(16 * n)}  weights, gradients and two averages; and activations",
        ],
        "work": [
            f"{'a training step':<16}{flops * tokens / 1e9:>14,.1f} GFLOP  for {tokens:,} tokens",
            f"{'a new token':<16}{flops / 3 / 1e9:>14,.4f} GFLOP",
        ],
    }
    print("\n\n".join("\n".join([name, *lines] if name else lines) for name, lines in sections.items() if lines))


def plan(options: Plan) -> None:
    """`gpt plan`."""
    from .plan import plan
    from .trainer import check_device

    config = options.training
    check_device(config.device)
    if config.init_from != "scratch":
        shape, wanted = _described(config.init_from)[0].model, config.model
        block_size = min(shape.block_size, wanted.block_size)
        config = replace(config, model=replace(shape, dropout=wanted.dropout, block_size=block_size))
    elif config.tokenizer != "char":
        config = replace(config, model=replace(config.model, vocab_size={"byte": 256, "gpt2": 50257}[config.tokenizer]))
    print(plan(config))


def ledger(options: Ledger) -> None:
    """`gpt ledger`."""
    import tinygrad_edu as tg

    from .ledger import ledger

    if options.plot and not options.plot.endswith((".png", ".svg")):
        raise ValueError(f"--plot {options.plot!r} does not say what to draw; use a name that ends in .png or .svg")
    run, _ = _described(options.preset)
    batch_size = run.batch_size if options.batch_size is None else options.batch_size
    block_size = run.model.block_size if options.block_size is None else options.block_size
    shape = replace(run.model, block_size=max(run.model.block_size, block_size))
    with tg.use_kernels("reference" if options.reference else "auto"):
        found = ledger(shape, batch_size, block_size)
    print(found)
    if options.plot:
        found.plot(options.plot)
        print(f"\nDrawn to {options.plot}.")


def _described(model: str) -> tuple[TrainConfig, list[str]]:
    """The run that made, or would make, the model of this name or place, and what else is known of it."""
    if model in PRESETS:
        run = preset(model)
        return run, [f"preset {model}: {run.max_iters:,} steps on {run.dataset}, {run.tokenizer} tokenizer"]
    if model in SIZES:
        return TrainConfig(model=GPTConfig.named(model), batch_size=1), [f"{model}, one sequence a step"]
    from .checkpoint import load_settings
    from .pretrained import load

    try:
        folder, run, step, state = load_settings(model, "best", "latest")
    except FileNotFoundError as error:
        if not Path(model).exists():
            names = ", ".join({**PRESETS, **SIZES})
            raise FileNotFoundError(f"there is no model {model!r}: it is none of {names}, and no such file") from None
        try:
            return TrainConfig(model=load(model).config, batch_size=1), [f"{model}, one sequence a step"]
        except FileNotFoundError as other:
            raise FileNotFoundError(f"{error}; {other}") from None
    about = [f"{folder}: step {step:,} of {run.max_iters:,}, {run.tokenizer} tokenizer"]
    loss, text = state.get("best_val_loss"), state.get("text")
    if isinstance(text, dict):
        about.append(f"text {text.get('name')}, from {text.get('source') or 'a place not told'}")
        about.append(f"text's SHA-256 {text.get('sha256')}")
    if isinstance(loss, float):
        about.append(f"best validation loss {loss:.4f} nats per token, over {run.eval_iters} batches")
    return run, about


def _parameters(shape: GPTConfig) -> dict[str, int]:
    """Number of parameters by module, counted on a model of one block, one token and one position."""
    from .model import GPT

    times = {"h": shape.n_layer, "wte": shape.vocab_size, "wpe": shape.block_size}
    counts: dict[str, int] = {}
    for name, p in GPT(replace(shape, n_layer=1, vocab_size=1, block_size=1)).named_parameters():
        parts = name.split(".")
        module = ".".join(["h.*", *parts[2:-1]] if parts[0] == "h" else parts[:-1])
        counts[module] = counts.get(module, 0) + p.numel() * times.get(parts[0], 1)
    return counts


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:>14,.1f} MiB"


COMMANDS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "train": (Train, train),
    "plan": (Plan, plan),
    "sample": (Sample, sample),
    "info": (Info, info),
    "ledger": (Ledger, ledger),
}


def _separated(args: Sequence[str]) -> list[str]:
    """`--key=value` as two arguments and `--a_key` as `--a-key`, so that the nearest match of a mistyped key is found.

    `--key=True` and `--key=False` of a flag, as nanoGPT's users write them, become `--key` and `--no-key`.
    """
    flags = {f.name for cls in (GPTConfig, TrainConfig, Train, Sample, Ledger) for f in fields(cls) if f.type == "bool"}
    separated: list[str] = []
    for arg in args:
        key, equals, value = arg.partition("=")
        if not key.startswith("--"):
            separated.append(arg)
            continue
        key = key.replace("_", "-")
        name = key.removeprefix("--").replace("-", "_")
        if not equals or value.startswith("-"):
            separated.append(key + equals + value)
        elif name in flags and value in ("True", "False"):
            separated.append(key if value == "True" else f"--no-{key.removeprefix('--')}")
        else:
            separated += [key, value]
    return separated


def _value_of(option: str, args: Sequence[str]) -> str | None:
    """The value of an option that decides what the defaults of the others are."""
    places = [i for i, arg in enumerate(args) if arg == option]
    return args[places[-1] + 1] if places and places[-1] + 1 < len(args) else None


def _settings_of(run: str) -> TrainConfig:
    from .checkpoint import load_settings

    folder, config, _, _ = load_settings(run)
    return replace(config, out_dir=str(folder.parent))


def _flat(config: TrainConfig) -> dict[str, Any]:
    values = config.to_dict()
    return {**values.pop("model"), **values}
