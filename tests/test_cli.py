"""The command line, in this process and, for what only a process has, in another."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import tinygrad_edu as tg
from gpt import checkpoint, cli
from gpt.config import PRESETS, GPTConfig, TrainConfig, preset
from gpt.data import write_tokens
from gpt.model import GPT
from gpt.report import read_metrics
from gpt.tokenizers import CharTokenizer, GPT2Tokenizer
from gpt.trainer import Interrupted, Trainer

ROOT = Path(__file__).parents[1]
SHAPE = ["--n_layer", "1", "--n-head=2", "--n_embd=8", "--block-size", "8"]


@pytest.fixture(autouse=True)
def _without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt.report.plot", lambda *args: None)


@pytest.fixture
def text(data_dir: Path, tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text((data_dir / "tinyshakespeare.txt").read_text("utf-8")[:3000], "utf-8", newline="\n")
    return str(path)


@pytest.fixture
def short(text: str, tmp_path: Path) -> list[str]:
    """Options of a run that takes a moment."""
    schedule = ["--max_iters", "4", "--eval-interval=2", "--eval_iters=1", "--batch-size", "2", "--warmup-iters", "1"]
    return [*SHAPE, *schedule, "--dataset", text, "--out-dir", str(tmp_path / "run"), "--sample-tokens", "5"]


def run(*args: str) -> int:
    """The exit status of `python -m gpt ARGS`, without a process."""
    try:
        return cli.main(args)
    except SystemExit as error:
        assert isinstance(error.code, int)
        return error.code


def in_a_process(*args: str, **variables: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", **variables}
    return subprocess.Popen(
        [sys.executable, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )


# ---- options ---------------------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """Help without its frames and line breaks."""
    return re.sub(r"([\s│╭╮╰╯─]|-{4,})+", " ", text)


@pytest.mark.parametrize("name", PRESETS)
def test_help_explains_every_field_with_the_presets_default(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--preset", name, "--help") == 0
    shown = plain(capsys.readouterr().out)
    defaults = preset(name).to_dict()
    for cls, values in ((TrainConfig, defaults), (GPTConfig, defaults["model"])):
        for f in fields(cls):
            if f.name in ("model", "vocab_size"):
                continue
            option = f"--{f.name.replace('_', '-')}"
            described = re.search(rf"{option}[ ,].*?\(default: (.*?)\)", shown)
            assert described, option
            assert described[1] == str(values[f.name]), option
            assert len(described[0]) > len(option) + 40, option
    assert "--vocab-size" not in shown  # the tokenizer says


def test_help_of_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    shown = plain(capsys.readouterr().out)
    for part in ("train", "sample", "info", "GPT_TRACEBACK", "or go on with a run"):
        assert part in shown
    assert run("sample", "--help") == 0
    assert "--max-new-tokens INT Length of each sample in tokens. (default: 500)" in plain(capsys.readouterr().out)
    assert set(get_args(get_type_hints(cli.Train)["preset"])) == set(PRESETS)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "--n_layr", "3"], "Unrecognized options: --n-layr, 3 Perhaps you meant: --n-layer INT"),
        (["train", "--n_leyer", "3"], "Perhaps you meant: --n-layer INT"),
        (["train", "--n_layr=3"], "Perhaps you meant: --n-layer INT"),
        (["train", "--learning-rte=1"], "Perhaps you meant: --learning-rate"),
        (["train", "--n-layer", "three"], "invalid literal"),
        (["train", "--preset", "desktop"], "invalid choice 'desktop'.*'laptop-fast', .*'full', 'gpt2'"),
        (["train", "--preset"], "--preset"),
        (["train", "--tokenizer", "word"], "invalid choice 'word'.*'char', 'byte', 'gpt2'"),
        (["train", "--n-embd", "130"], "^error: --n-embd 130 is not divisible by --n-head 4; .*132 All options"),
        (["train", "--n-head", "3"], "so choose --n-head 2 or 4, or a multiple of the heads, such as --n-embd 129"),
        (["train", "--max-iters", "0"], "^error: --max-iters must be at least 1, got 0"),
        (["train", "--dropout", "1"], r"^error: --dropout must be in \[0, 1\), got 1"),
        (["train", "--vocab-size", "100"], "Unrecognized options: --vocab-size"),
        (["trian"], "Unrecognized options: trian Available subcommands: train, plan, sample, info, ledger"),
        ([], "Expected one of {train, plan, sample, info, ledger}"),
        (["sample"], "Missing from .*sample: MODEL"),
    ],
)
def test_wrong_options(args: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*args) == 2
    assert re.search(message, plain(capsys.readouterr().err))


def test_options_reach_the_configuration() -> None:
    args = ["--preset=full", "--n_layer", "2", "--bias", "--n-head=3", "--learning_rate=1e-2", "--lr-decay-iters=700"]
    options = cli.parse(cli.Train, [*args, "--decay_lr=False", "--tokenizer", "byte", "--seed=-1"], "gpt train")
    full = preset("full")
    shape = replace(full.model, n_layer=2, bias=True, n_head=3)
    assert type(options.training.model) is GPTConfig
    assert options.training == replace(
        full, model=shape, learning_rate=1e-2, lr_decay_iters=700, decay_lr=False, tokenizer="byte", seed=-1
    )
    assert preset("full") == full
    assert cli.parse(cli.Train, [], "gpt train").training == preset("laptop-fast")
    for flag, value in (("--bias=True", True), ("--bias=False", False), ("--no-bias", False), ("--bias", True)):
        assert cli.parse(cli.Train, ["--preset", "gpt2", flag], "gpt train").training.model.bias == value
    assert cli.parse(cli.Sample, ["run", "--prompt=True", "--greedy=True"], "").prompt == "True"
    assert cli.parse(cli.Sample, ["run", "--prompt=--help=me"], "").prompt == "--help=me"


# ---- train, sample, info ---------------------------------------------------------------------------------------------


def test_train_resume_sample_info(short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    assert run("train", *short) == 0
    shown = capsys.readouterr()
    assert "step     4: train" in shown.err
    more = re.escape(f"More:    {cli.python()} -m gpt sample {folder} --prompt ...")
    sample = re.fullmatch(rf"\nA sample:\n\n(.{{500}})(\.\.\.)?\n\n{more}\n", shown.out, re.DOTALL)
    assert sample and bool(sample[2]) == sample[1][-1].isalnum()
    config = checkpoint.load(folder).config
    assert (config.model.n_layer, config.model.n_head, config.model.n_embd, config.max_iters) == (1, 2, 8, 4)
    assert config.model.vocab_size == checkpoint.load(folder).tokenizer.n_vocab

    assert run("train", *short) == 1
    assert capsys.readouterr().err == (  # and nothing else, for the text is not looked for
        f"error: {folder} holds a finished run of 4 steps: go on with it by --resume {folder} --max-iters 8, write to "
        "another folder by --out-dir OTHER, or lose it by --overwrite\n"
    )
    assert run("train", *short, "--overwrite") == 0

    assert run("train", "--resume", folder, "--max-iters", "6", "--n-layer=1") == 0
    assert "resumed  after step 4" in capsys.readouterr().err
    assert [row["step"] for row in read_metrics(folder)] == [0, 2, 4, 6]
    for wrong, message in (
        (["--n-layer", "2"], "so --n-layer cannot change .only --max-iters, --eval-interval"),
        (["--seed=2"], "so seed cannot change"),
        (["--preset", "laptop"], "give --resume without --preset"),
    ):
        assert run("train", "--resume", folder, *wrong) == 1
        assert re.fullmatch(f"error: .*{message}.*\n", capsys.readouterr().err)
    assert run("train", f"--resume={tmp_path / 'nowhere'}") == 1
    assert re.fullmatch("error: there is no checkpoint at .*nowhere: .*\n", capsys.readouterr().err)

    sampling = ["sample", folder, "--max-new-tokens", "30", "--prompt", "First"]
    texts = []
    for more in ([], [], ["--seed=2"], ["--greedy"], ["--greedy", "--seed=2"], ["--temperature=100", "--top-k=None"]):
        assert run(*sampling, *more) == 0
        shown = capsys.readouterr()
        texts.append(shown.out)
        seed = 2 if "--seed=2" in more else 1337
        assert shown.err == ("" if "--greedy" in more else f"seed {seed}; --seed N writes another\n")
    assert all(t.startswith("First") and len(t) == 5 + 30 + 1 for t in texts)
    assert texts[0] == texts[1] and texts[3] == texts[4] and len({*texts}) == 4
    assert run(*sampling, "--num-samples=2") == 0
    first, second = re.split("^=== sample . of 2 ===\n", capsys.readouterr().out, flags=re.MULTILINE)[1:]
    assert first == texts[0] and len(second) == 36 and second != first

    for wrong, message in (
        (["--temperature=0"], "--temperature must be positive and finite, got 0.0; .* use --greedy"),
        (["--max-new-tokens=-1"], "--max-new-tokens must be 0 or more, got -1"),
        (["--num-samples=0"], "--num-samples must be at least 1, got 0"),
        (["--top-k=0"], "--top-k must be at least 1, got 0"),
        (["--top-p=2"], "--top-p must be"),
        (["--prompt=Ż"], "'Ż' at position 0; leave them out .it knows only "),
    ):
        assert run("sample", folder, *wrong) == 1
        shown = capsys.readouterr()
        assert shown.out == "" and re.fullmatch(f"error: .*{message}.*\n", shown.err), shown.err

    assert run("info", folder) == 0
    shown = capsys.readouterr()
    n = sum(p.numel() for p in checkpoint.load(folder).model.parameters())
    assert re.search(rf"^all +{n:,}$", shown.out, re.MULTILINE)
    assert f"{folder}/best: step " in shown.out and "text.txt" in shown.out and "char tokenizer" in shown.out
    assert re.search(r"^text \S*text, from a given file$", shown.out.replace(".txt", ""), re.MULTILINE)
    assert re.search(r"^best validation loss \d\.\d{4} nats per token, over 1 batches$", shown.out, re.MULTILINE)
    assert "{" not in shown.out


def test_messages_in_options_leave_paths_and_words_alone() -> None:
    for message, shown in (
        ("GPTConfig: n_embd=6 and n_head", "--n-embd 6 and --n-head"),
        ("generate: temperature must be positive", "--temperature must be positive"),
        ("there is no /a/n_head=4/max_iters.txt, 'top_k'", "there is no /a/n_head=4/max_iters.txt, 'top_k'"),
        ("the seed and the device; --out-dir x, vocab_size=3", "the seed and the device; --out-dir x, vocab_size=3"),
        ("device='gpu' cannot be used", "--device 'gpu' cannot be used"),
    ):
        assert cli.in_options(message) == shown


def test_a_text_too_short_says_what_would_do(short: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for n, block_size, advice in ((100, 16, ", or --block-size 9 or less"), (50, 8, "")):
        Path(text).write_text(Path(text).read_text("utf-8")[:n], "utf-8")
        assert run("train", *short, "--block-size", str(block_size)) == 1
        assert capsys.readouterr().err == (
            f"error: {text} is too short: it has {n} characters, and a tenth is kept to validate on, which makes "
            f"{n // 10} tokens where --block-size {block_size} needs {block_size + 1}; use a text of about "
            f"{10 * (block_size + 1)} characters or more{advice}\n"
        )
    Path(text).write_text("")
    assert run("train", *short) == 1
    assert capsys.readouterr().err == f"error: {text} is empty: give a file that holds a text\n"


def test_an_error_shows_where_it_arose_if_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPT_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError):
        cli.main(["sample", str(tmp_path)])


def test_too_much_memory_is_one_line_too(short: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *short, "--batch-size", str(10**12)) == 1
    said = capsys.readouterr().err
    assert re.search(r"^error: out of memory in randint: Unable to allocate .*\n\Z", said, re.MULTILINE)


@pytest.mark.skipif(tg.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_one_line(short: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *short) == 0
    out_dir = short[short.index("--out-dir") + 1]
    settings = Path(out_dir) / "latest" / "checkpoint.json"
    settings.write_text(settings.read_text("utf-8").replace('"device": "cpu"', '"device": "cuda"'), "utf-8")
    capsys.readouterr()
    assert run("train", "--resume", out_dir) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: --device 'cuda' cannot be used: ") and error.count("\n") == 1
    assert error.endswith(f"; {out_dir} was trained there: --device cpu goes on here\n")
    assert run("plan", "--device", "cuda") == 1
    assert capsys.readouterr().err.startswith("error: --device 'cuda' cannot be used: ")


def test_no_sample_if_none_is_wanted(short: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", *short, "--sample-tokens=0") == 0
    assert "A sample" not in capsys.readouterr().out


def test_a_stop_before_anything_is_saved(capsys: pytest.CaptureFixture[str]) -> None:
    def stop(error: KeyboardInterrupt) -> None:
        raise error

    nothing = Interrupted(signal.SIGTERM, Path("run"), None)
    assert cli.exit_status(lambda: stop(nothing), "gpt train") == 143
    assert capsys.readouterr().err == "stopped by SIGTERM; nothing was saved yet.\n"
    assert cli.exit_status(lambda: stop(KeyboardInterrupt()), "gpt sample") == 130
    assert capsys.readouterr().err == ""


def test_how_to_call_python_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    assert cli.python() == ".venv/bin/python"
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    assert cli.python() == "python"


def test_a_run_that_diverges_fails(short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["--learning-rate=1e30", "--no-decay-lr", "--grad-clip=0", "--max-iters=50"]
    assert run("train", *short, *wild) == 1
    message = r"^error: step \d+: the .* try a lower --learning-rate, a longer warm-up, or --grad-clip 1\n\Z"
    assert re.search(message, capsys.readouterr().err, re.MULTILINE)
    assert checkpoint.load(tmp_path / "run").step == 0


def test_weights_of_gpt2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = GPT2Tokenizer()
    shape = GPTConfig(block_size=16, vocab_size=tokenizer.n_vocab, n_layer=1, n_head=2, n_embd=8)
    model = GPT(shape)
    folder = tmp_path / "gpt2"
    model.save_pretrained(folder)
    for path in (folder, folder / "model.safetensors"):
        assert run("sample", str(path), "--prompt", "Zażółć", "--max-new-tokens=4", "--greedy") == 0
        ids = tg.tensor([tokenizer.encode("Zażółć")])
        assert capsys.readouterr().out == tokenizer.decode(model.generate(ids, 4, do_sample=False)[0]) + "\n"
    assert run("info", str(folder)) == 0
    assert "50257" in capsys.readouterr().out
    (folder / "merges.txt").write_text("#version: 0.2\nT h\n")
    assert run("sample", str(folder)) == 1
    assert "merges.txt is damaged or another edition" in capsys.readouterr().err
    (folder / "merges.txt").unlink()

    GPT(replace(shape, vocab_size=7)).save_pretrained(tmp_path / "other")
    assert run("sample", str(tmp_path / "other")) == 1
    assert "a vocabulary of 7 tokens, GPT-2's tokenizer has 50257" in capsys.readouterr().err
    assert run("sample", str(tmp_path / "nothing")) == 1
    assert "nor are there weights of GPT-2" in capsys.readouterr().err


def test_sampling_begins_and_ends_with_the_end_of_text() -> None:
    tokenizer = GPT2Tokenizer()
    model = GPT(GPTConfig(block_size=16, vocab_size=tokenizer.n_vocab, n_layer=1, n_head=1, n_embd=4))
    halves = tokenizer.encode("ὀ")
    assert len(halves) > 1  # each is a part of a character
    said = [tokenizer.end_of_text, *halves, tokenizer.end_of_text]

    def stream(idx: tg.Tensor, n: int, **options: object) -> object:
        assert idx.tolist() == [[tokenizer.end_of_text]]
        return iter([tg.tensor([[token]]) for token in said[1:]])

    from gpt.sampling import stream_text

    model.stream = stream  # type: ignore[method-assign, assignment]
    assert list(stream_text(model, tokenizer, "", 10)) == ["ὀ"]  # whole characters, and no end-of-text
    said.pop()
    said.pop()
    assert list(stream_text(model, tokenizer, "", 10))[-1] == "\N{REPLACEMENT CHARACTER}"  # it was cut off


def test_a_vocabulary_without_a_new_line_can_begin(tmp_path: Path) -> None:
    from gpt.sampling import stream_text

    model = GPT(GPTConfig(block_size=4, vocab_size=3, n_layer=1, n_head=1, n_embd=4))
    text = "".join(stream_text(model, CharTokenizer("abc"), "", 6))
    assert len(text) == 6 and set(text) <= set("abc")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("laptop", ["2,000 steps on shakespeare", r"^all +804,096$", "for 768 tokens"]),
        ("laptop-fast", ["1,000 steps on shakespeare", r"^all +804,096$"]),
        ("full", [r"^all +10,7\d\d,\d\d\d$", "for 16,384 tokens"]),
        ("gpt2", ["124,439,808", r"weights +474.7 MiB"]),
        ("gpt2-medium", ["354,823,168"]),
    ],
)
def test_info_of_names(name: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", name) == 0
    shown = capsys.readouterr().out
    for part in parts:
        assert re.search(part, shown, re.MULTILINE), part


def test_info_agrees_with_the_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "laptop") == 0
    shown = capsys.readouterr().out
    model = GPT(preset("laptop").model)
    assert f"{model.estimate_flops(12) / 1e9:,.1f} GFLOP" in shown
    counts = dict(re.findall(r"^(\S+) +([\d,]+)$", shown.split("parameters\n")[1].split("\n\n")[0], re.MULTILINE))
    assert int(counts["h.*.mlp.c_fc"].replace(",", "")) == sum(b.mlp.c_fc.weight.numel() for b in model.h)
    assert sum(int(n.replace(",", "")) for name, n in counts.items() if name != "all") == 804_096


def test_info_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "lapptop") == 1
    assert "there is no model 'lapptop': it is none of laptop-fast, laptop, full-fast, full," in capsys.readouterr().err
    assert run("info", str(tmp_path)) == 1
    assert "no weights at" in capsys.readouterr().err
    state = {"format": checkpoint.FORMAT, "version": 1, "config": {}, "step": 1, "state": {"text": 3}}
    (tmp_path / "checkpoint.json").write_text(json.dumps(state))
    assert run("info", str(tmp_path)) == 0


# ---- what only a process has -----------------------------------------------------------------------------------------


def test_it_answers_before_it_loads_what_computes() -> None:
    code = (
        "import sys; from gpt import cli\ntry: cli.main(['train', '--help'])\nexcept SystemExit: pass\n"
        "assert not {'numpy', 'tinygrad_edu', 'matplotlib', 'tiktoken'} & sys.modules.keys(), sorted(sys.modules)"
    )
    process = in_a_process("-c", code)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_says_how_to_go_on(
    short: list[str], tmp_path: Path, signum: signal.Signals, status: int
) -> None:
    process = in_a_process("-m", "gpt", "train", *short, "--max-iters=1000000", "--sample-tokens=0")
    assert process.stderr
    seen = ""
    while "step     0: train" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    process.send_signal(signum)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    folder = tmp_path / "run"
    after = checkpoint.load(folder).step
    assert re.search(
        rf"^stopped by {signum.name}; {folder} holds the run as it was after step {after:,}. Go on with: "
        rf"{cli.python()} -m gpt train --resume {folder}$",
        errors,
        re.MULTILINE,
    )
    assert "Traceback" not in errors
    resumed = Trainer.resume(folder, max_iters=after + 2)
    assert [step.number for step in resumed] == [after + 1, after + 2]


def test_a_reader_that_has_seen_enough(text: str, tmp_path: Path) -> None:
    tokenizer = CharTokenizer.from_text(Path(text).read_text("utf-8"))
    tokens = write_tokens(tmp_path / "t.bin", Path(text).read_text("utf-8"), tokenizer)
    config = TrainConfig(model=GPTConfig(block_size=8, vocab_size=tokenizer.n_vocab, n_layer=1, n_head=1, n_embd=4))
    Trainer(config, GPT(config.model), tokenizer, tokens, tokens).save(tmp_path / "model")
    process = in_a_process("-m", "gpt", "sample", str(tmp_path / "model"), "--max-new-tokens=100000")
    assert process.stdout and process.stderr
    assert len(process.stdout.read(5)) == 5  # it streams: this comes long before the end
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0


def test_no_colours_if_not_wanted() -> None:
    code = "import sys, tyro; sys.stdout.isatty = lambda: True; from gpt import cli; cli.main(['train', '--help'])"
    for variables, coloured in (({"NO_COLOR": ""}, True), ({"NO_COLOR": "1"}, False)):
        process = in_a_process("-c", code, TERM="xterm", **variables)
        shown, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert ("\033[" in shown) == coloured


def test_names_of_the_package_are_loaded_when_used() -> None:
    import gpt

    for name in gpt.__all__:
        assert getattr(gpt, name).__module__ == f"gpt.{gpt._HOME_OF[name]}", name
        assert name in dir(gpt)
    with pytest.raises(AttributeError, match="module 'gpt' has no attribute 'GTP'"):
        gpt.GTP  # noqa: B018
