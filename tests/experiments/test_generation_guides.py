"""What the README and the guides to generation tell people to type does what they say."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import sys
import urllib.request

import pytest
import torch

from experiments.cli import main
from rlcore.data.tokenizers import ByteTokenizer
from rlcore.inference import config, llm
from rlcore.nn.transformer import Transformer, TransformerConfig, save_pretrained
from tests.experiments.test_cli_language import TEMPLATE, start_server

FEW = ["--blocks", "256", "--device", "cpu"]


def blocks(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Two model folders, by the names that the guides use."""
    monkeypatch.chdir(tmp_path)
    tokenizer = ByteTokenizer({"eos": "<|im_end|>"}, ["<|im_start|>"])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    for name in ("shakespeare", "chat"):
        folder = tmp_path / "models" / name
        folder.parent.mkdir(exist_ok=True)
        shape = TransformerConfig(vocab_size=258, dim=16, layers=1, heads=2, eos_id=256)
        save_pretrained(Transformer(shape), folder)
        tokenizer.save(folder)
    records = [{"prompt": "a"}, {"messages": [{"role": "user", "content": "b"}]}]
    (tmp_path / "prompts.jsonl").write_text("\n".join(map(json.dumps, records)))
    return tmp_path


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/generate.md"])
def test_every_command_works(repo_root, models, monkeypatch, capsys, page):
    lines = [line for block in blocks(repo_root / page, "bash") for line in block.splitlines()]
    found = [shlex.split(line) for line in lines if " models/" in line and "serve" not in line]
    assert len(found) >= 2
    for _, *words in found:
        monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n/quit\n"))
        code = main([*words, *FEW])
        assert code == 0, f"{words}: {capsys.readouterr().err}"
    assert "<article>" in (models / "page.html").read_text()
    if page != "README.md":
        assert len((models / "answers.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("page", ["docs/how-to/generate.md", "docs/concepts/engine.md"])
def test_every_program_runs(repo_root, models, monkeypatch, capsys, page):
    small = config.EngineConfig(num_blocks=256, max_rows=16)
    monkeypatch.setattr(llm, "EngineConfig", lambda: small)
    monkeypatch.setattr("rlcore.inference.engine.EngineConfig", lambda: small)
    programs = blocks(repo_root / page, "python")
    assert programs
    for program in programs:
        exec(compile(program, page, "exec"), {})
    if "print(" in "".join(programs):
        assert len(capsys.readouterr().out.splitlines()) >= 4


def test_the_request_of_the_guide_to_serving_is_answered(repo_root, models):
    [command] = blocks(repo_root / "docs/how-to/serve.md", "sh")
    words = shlex.split(command.replace("\\\n", " "))
    body = words[words.index("-d") + 1]
    header = words[words.index("-H") + 1].split(": ")
    path = words[1].removeprefix("http://127.0.0.1:8000")
    process, port, _ = start_server(repo_root, models / "models/chat")
    try:
        url = f"http://127.0.0.1:{port}{path}"
        request = urllib.request.Request(url, body.encode(), dict([header]))
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.read().endswith(b"data: [DONE]\n\n")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
