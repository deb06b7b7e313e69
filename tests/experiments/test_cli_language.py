"""rlcore generate, chat and serve, as people call them."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from experiments import cli
from experiments.chat import Chat, converse
from experiments.generation import terminal_text, transcript_answer
from experiments.transcript import Fork
from rlcore.data.tokenizers import ByteTokenizer
from rlcore.data.tokenizers.chat import encode_chat
from rlcore.errors import ConfigError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.errors import RequestError
from rlcore.inference.llm import LLM
from rlcore.inference.request import Request
from rlcore.nn.transformer import Transformer, TransformerConfig, save_pretrained

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMALL = ["--blocks", "128", "--device", "cpu"]


def make_folder(folder, causal=True):
    tokenizer = ByteTokenizer({"eos": "<|im_end|>", "mask": "<mask>"}, ["<|im_start|>"])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    mask = {} if causal else {"causal": False, "mask_id": 257}
    shape = TransformerConfig(vocab_size=259, dim=32, layers=2, heads=4, eos_id=256, **mask)
    save_pretrained(Transformer(shape), folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def llm(folder):
    return LLM(folder, device="cpu", engine=EngineConfig(num_blocks=256, max_rows=8))


def run(capsys, *words):
    code = cli.main([str(word) for word in words])
    return code, *capsys.readouterr()


def wanted(llm, prompt, **options):
    return llm.generate([prompt], **options)[0]


# -- generate -------------------------------------------------------------------------------------


def test_a_prompt_is_answered_on_standard_output(folder, llm, capsys):
    code, out, _ = run(
        capsys, "generate", folder, "hello", "--max-new-tokens", 9, "--seed", 4, *SMALL
    )
    assert code == 0
    assert out == wanted(llm, "hello", max_new_tokens=9, seed=4).text + "\n"


def test_several_answers_are_told_apart(folder, capsys):
    code, out, _ = run(capsys, "generate", folder, "x", "-n", 2, "--max-new-tokens", 1, *SMALL)
    assert code == 0
    assert out.count("--- prompt 1, answer ") == 2


def test_json_lines_in_and_out(folder, llm, capsys, tmp_path):
    records = [{"prompt": "ab", "id": "é"}, {"prompt": [97, 98], "id": 2}]
    records.append({"messages": [{"role": "user", "content": "<|im_end|>"}]})
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n\n".join(map(json.dumps, records)), encoding="utf-8")
    words = ("--file", source, "--out", target, "--max-new-tokens", 5, "-n", 2)
    code, out, _ = run(capsys, "generate", folder, *words, *SMALL)
    assert (code, out) == (0, "")
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [(f.get("id"), f["sample"]) for f in found] == [
        ("é", 0), ("é", 1), (2, 0), (2, 1), (None, 0), (None, 1)
    ]  # fmt: skip
    ids = encode_chat(llm.tokenizer, records[2]["messages"])
    first = wanted(llm, ids, max_new_tokens=5)
    assert found[4]["token_ids"] == first.token_ids
    assert found[4]["text"] == first.text
    assert found[4]["log_probs"] == pytest.approx(first.log_probs, abs=1e-6)
    assert found[0]["token_ids"] != found[2]["token_ids"], "equal prompts have answers of their own"


def test_standard_input_is_a_prompt_or_a_file(folder, llm, capsys, monkeypatch):
    import io

    expected = wanted(llm, "hello\n", max_new_tokens=4).text + "\n"
    for words in ((), ("-",)):
        monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n"))
        assert run(capsys, "generate", folder, *words, "--max-new-tokens", 4, *SMALL)[1] == expected
    monkeypatch.setattr(sys, "stdin", io.StringIO('{"prompt": "hello\\n"}\n'))
    words = ("--file", "-", "--json", "--max-new-tokens", 4)
    code, out, _ = run(capsys, "generate", folder, *words, *SMALL)
    assert code == 0
    assert json.loads(out)["text"] + "\n" == expected


def test_a_person_is_told_that_a_prompt_is_awaited(folder, capsys, monkeypatch):
    import io

    typed = io.StringIO("hello\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", typed)
    code, _, err = run(capsys, "generate", folder, "--max-new-tokens", 2, *SMALL)
    assert (code, err) == (0, "type the prompt; Ctrl-D ends it\n")


def test_the_longest_prompt_that_serve_allows_has_room(folder):
    from experiments.cli_language import _load

    engine = _load(folder, None, "cpu", None, None, 32_768 + 8192).engine
    request = Request(prompt=[5] * 32_768, max_new_tokens=8192)
    engine.submit(request).abort()
    with pytest.raises(RequestError, match="can come to need"):
        engine.submit(replace(request, max_new_tokens=8193 + 16))


def test_a_message_is_laid_out_with_the_template(folder, llm, capsys):
    words = ("generate", folder, "hi", "--chat", "--json", "--max-new-tokens", 3)
    found = json.loads(run(capsys, *words, *SMALL)[1])
    ids = encode_chat(llm.tokenizer, [{"role": "user", "content": "hi"}])
    assert found["token_ids"] == wanted(llm, ids, max_new_tokens=3).token_ids
    assert found["prompt"] == "hi"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no prompt"),
        ("{", "line 1: not JSON"),
        ("\n[]", "line 2: wanted an object with either prompt or messages"),
        ('{"prompt": "a", "messages": []}', "either prompt or messages"),
        ('{"prompt": 5}', "prompt must be a text or a list of token ids"),
        ('{"messages": ["x"]}', "messages must be a list of objects"),
        (
            '{"prompt": "a"}\n{"prompt": [300]}',
            "in.jsonl, line 2: prompt[0] is 300, wanted a token",
        ),
        ('{"prompt": "a"}\n\n{"prompt": []}', "in.jsonl, line 3: the prompt has no tokens"),
        ('{"prompt": "\\ud83d"}', "in.jsonl, line 1: text holds the lone surrogate"),
    ],
)
def test_bad_files_are_refused_with_their_line(folder, capsys, tmp_path, text, message):
    (tmp_path / "in.jsonl").write_text(text)
    code, out, err = run(capsys, "generate", folder, "--file", tmp_path / "in.jsonl", *SMALL)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["x", "--file", "y"], 2, "a prompt or --file, not both"),
        (["--file", "/nowhere"], 2, "/nowhere: cannot be read (No such file or directory)"),
        (["x", "--top-k", 1 << 31], 2, "sampling.top_k must be from 0 (keeps all) to 2147483647"),
        (["x", "-n", 1 << 17], 2, "must be at most 65536, got 131072"),
        (["x", "--dtype", "int64"], 2, "--dtype 'int64'"),
        (["x", "--dtype", "nn"], 2, "--dtype 'nn'"),
        (["x", "--top-p", "1.5"], 2, "top_p"),
        (["x", "--temperature", "-1"], 2, "'--temperature'"),
        (["x", "--decoding", "/nowhere"], 2, "/nowhere"),
        (["x", "--template", "/nowhere"], 2, "/nowhere: cannot be read"),
        (["x", "--html", "/nowhere/x.html"], 2, "/nowhere/x.html: cannot be written"),
        (["x", "--out", "/nowhere/x"], 2, "/nowhere/x: cannot be written"),
    ],
)
def test_wrong_usage_exits_with_its_code(folder, capsys, words, code, message):
    found, _, err = run(capsys, "generate", folder, *words, "--max-new-tokens", 1, *SMALL)
    assert found == code
    assert message in err


def test_what_is_wrong_is_told_of_before_a_model_is_loaded(capsys, tmp_path):
    (tmp_path / "dir").mkdir()
    for words, message in (
        (["--out", tmp_path / "dir"], "cannot be written (it is a folder)"),
        (["--html", tmp_path / "no" / "x"], f"there is no folder {tmp_path / 'no'}"),
        (["--temperature", "inf"], "got inf"),
        (["--decoding", tmp_path / "no.yaml"], "no.yaml: no such file"),
    ):
        code, _, err = run(capsys, "generate", tmp_path / "never loaded", "x", *words)
        assert code == 2
        assert message in err


def test_a_folder_that_is_no_model_exits_with_4(capsys, tmp_path):
    for command in (["generate", tmp_path, "x"], ["chat", tmp_path], ["serve", tmp_path]):
        code, _, err = run(capsys, *command)
        assert code == 4
        assert "config.json" in err


def test_a_device_that_is_not_there_is_told_of(folder, capsys):
    for device, message in (("cuda:99", ": torch sees "), ("gpu", "; wanted cpu, cuda or cuda:N")):
        code, _, err = run(capsys, "generate", folder, "x", "--device", device)
        assert code == 2
        assert f"--device {device!r}{message}" in err


def test_an_interrupted_command_says_so(folder, capsys, monkeypatch):
    from experiments import cli_language

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_language, "_load", interrupted)
    code, out, err = run(capsys, "generate", folder, "x")
    assert (code, out) == (130, "")
    assert "interrupted" in err


def test_another_kind_of_folder_is_told_of_with_the_way_to_a_model(capsys, tmp_path):
    for name, file, message in (
        ("run", "config.resolved.yaml", f"rlcore export {tmp_path / 'run'} DIR"),
        ("data", "index.json", "it is a data set"),
        ("none", "a.txt", "is no model folder, it has no config.json"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
        code, _, err = run(capsys, "generate", tmp_path / name, "x")
        assert code == 4
        assert message in err


def test_a_template_that_fails_is_told_of_before_the_first_message(folder, capsys, tmp_path):
    template = tmp_path / "bad.jinja"
    for text, message in (("{% for", "TemplateSyntaxError"), ("{{ raise_exception('no') }}", "no")):
        template.write_text(text)
        for command in ("chat", "serve"):
            code, _, err = run(capsys, command, folder, "--template", template, *SMALL)
            assert code == 2
            assert f"{template}: the chat template" in err
            assert message in err


def test_a_prompt_beyond_the_memory_says_what_to_do(folder, capsys):
    words = ("--blocks", 4, "--device", "cpu", "--max-new-tokens", 9)
    code, _, err = run(capsys, "generate", folder, "x" * 99, *words)
    assert code == 2
    assert "prompt 0 has 99 tokens, its answer up to 9" in err
    assert "--blocks" in err


def test_text_for_a_folder_without_a_tokenizer_is_refused(folder, capsys, tmp_path):
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    (bare / "rlcore_tokenizer.json").unlink()
    code, _, err = run(capsys, "generate", bare, "x", *SMALL)
    assert code == 2
    assert '--file with lines such as {"prompt": [1, 2, 3]}' in err
    (tmp_path / "in.jsonl").write_text('{"prompt": [1, 2, 3]}')
    words = ("--file", tmp_path / "in.jsonl", "--max-new-tokens", 3)
    code, out, _ = run(capsys, "generate", bare, *words, *SMALL)
    assert code == 0
    assert all(word.isdigit() for word in out.split())


def test_the_page_shows_alternatives_and_the_order_of_diffusion(folder, llm, capsys, tmp_path):
    page = tmp_path / "page.html"
    words = ("--html", page, "--max-new-tokens", 6, "--temperature", 0.5)
    code, _, err = run(capsys, "generate", folder, "<script>", *words, *SMALL)
    assert code == 0
    assert str(page) in err
    text = page.read_text(encoding="utf-8")
    assert "&lt;" in text
    assert text.count("<script") == 1
    shown = transcript_answer(llm, wanted(llm, "ab", max_new_tokens=4, temperature=0.5))
    for token in shown.body.parts:
        assert len(token.alternatives) == 5
        values = [value for _, value in token.alternatives]
        assert values == sorted(values, reverse=True)
        assert token.log_prob <= values[0] + 1e-5
        if token.rank is None:
            assert token.log_prob <= values[-1] + 1e-5
        else:
            assert token.log_prob == pytest.approx(values[token.rank - 1], abs=1e-5)
        assert token.drawn_log_prob is not None
    diffusion = make_folder(tmp_path / "diffusion", causal=False)
    settings = tmp_path / "decoding.yaml"
    settings.write_text("acceptance: {name: fixed_count, schedule: {name: uniform, steps: 3}}\n")
    words = ("--html", page, "--max-new-tokens", 6, "--decoding", settings)
    assert run(capsys, "generate", diffusion, "ab", *words, *SMALL)[0] == 0
    text = page.read_text(encoding="utf-8")
    assert all(f'data-step="{step}"' in text for step in range(3))
    assert 'type="range" min="0" max="2"' in text


def test_forks_of_a_trace_are_branches_of_the_page(llm):
    engine = llm.engine
    handle = engine.submit(Request(prompt=[1, 2, 3], max_new_tokens=40, keep=True))
    for _ in range(4):
        engine.step()
    handle.root.stop()
    children = handle.root.fork(2, forced=[[65], [66]])
    while any(child.running for child in children) and min(map(len_of, children)) < 4:
        engine.step()
    for child in children:
        child.stop()
    handle.root.join(forced=[67])
    engine.step()
    handle.root.stop()
    trace = handle.finish()[0]
    engine.forget([handle.sample])
    from rlcore.inference.generated import Generated

    new = trace.new_ids.tolist()
    shown = transcript_answer(
        llm, Generated(0, 0, [1, 2, 3], new, [0.0] * len(new), None, "stop", trace=trace)
    )
    assert [token.id for token in shown.body.tokens()] == new
    forks = [part for part in shown.body.parts if isinstance(part, Fork)]
    assert [len(fork.branches) for fork in forks] == [2]
    assert forks[0].joined
    assert [branch.parts[0].id for branch in forks[0].branches] == [65, 66]
    assert all(branch.parts[0].forced for branch in forks[0].branches)
    # A rule wrote them: no probability is theirs.
    tokens = list(shown.body.tokens())
    assert [t.log_prob is None for t in tokens] == [t.forced for t in tokens]
    assert shown.facts["forks"] == 1


def test_tokens_that_no_pass_committed_have_no_step_on_the_page(llm):
    from rlcore.inference.generated import Generated

    given = Generated(0, 0, [1], [65, 66, 67], [-1.0, -2.0, 0.0], None, "stop",
                      commit_steps=[1, 0, -2])  # fmt: skip
    shown = transcript_answer(llm, given)
    assert [token.step for token in shown.body.parts] == [1, 0, None]


def len_of(child):
    return len(child.token_ids)


def test_generated_text_cannot_steer_a_terminal():
    assert terminal_text("a\x1b[31m\u202eb\r\n\tc") == "a\\u001b[31m\\u202eb\\u000d\n\tc"


def test_help_is_quick_and_loads_no_torch(repo_root):
    code = (
        "import sys, experiments.cli as c\n"
        "for name in ('generate', 'chat', 'serve'):\n"
        "    assert c.main([name, '--help']) == 0\n"
        "assert 'torch' not in sys.modules and 'jinja2' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repo_root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


# -- chat -----------------------------------------------------------------------------------------


class Talk:
    """A chat whose output is collected."""

    def __init__(self, llm, **options):
        self.written, self.said = "", ""
        given = {"sampling": SamplingParams(seed=1), "max_new_tokens": 6, "system": None,
                 "terminal": False}  # fmt: skip
        self.chat = Chat(llm, write=self.write, **{**given, **options})

    def write(self, text):
        self.written += text

    def say(self, text):
        self.said += text

    def lines(self, *lines):
        converse(self.chat, iter(lines), self.say)
        return self


def test_a_conversation_keeps_its_tokens_and_computes_each_once(llm):
    talk = Talk(llm)
    talk.lines("hello", "and <|im_end|>?", "more")
    turns = talk.chat.turns
    assert len(turns) == 3
    assert talk.written == "".join(
        llm.tokenizer.decode(t.ids, skip_special=True, errors="replace") + "\n" for t in turns
    )
    sent = sum(len(turn.sent) for turn in turns)
    # What is sent is computed, and of each earlier answer the last token; nothing twice.
    assert llm.engine.stats()["prefill_tokens"] <= sent + len(turns)
    end = 256
    assert turns[1].sent.count(end) == (2 if turns[0].ids[-1] != end else 1)
    whole = [i for turn in turns[:2] for i in (*turn.sent, *turn.ids)] + turns[2].sent
    raw = llm.model(torch.tensor([whole + turns[2].ids])).detach()[0].log_softmax(-1)
    law = [float(raw[len(whole) - 1 + n, i]) for n, i in enumerate(turns[2].ids)]
    assert turns[2].raw_log_probs == pytest.approx(law, abs=1e-4)
    talk.chat.close()
    stats = llm.engine.stats()
    assert stats["used_blocks"] == stats["cached_blocks"]


def test_commands_of_a_conversation(llm, tmp_path):
    talk = Talk(llm).lines(
        "/help", "/set", "/set temperature 0", "a", "/stats", "/set top_k 3", "b"
    )
    assert "/quit" in talk.said
    assert "temperature 1.0" in talk.said
    assert "temperature 0.0" in talk.said
    assert "1 turns" in talk.said
    assert len(talk.chat.turns) == 2
    first = talk.chat.turns[0]
    greedy = llm.generate([first.sent], max_new_tokens=6, temperature=0.0)[0]
    assert first.ids == greedy.token_ids
    # A change counts from the next answer on: top_k 1 at any temperature is greedy.
    hot = Talk(llm, sampling=SamplingParams(temperature=50.0, seed=1)).lines(
        "a", "/set top_k 1", "b"
    )
    before, after = hot.chat.turns
    whole = [*before.sent, *before.ids, *after.sent]
    assert after.ids == llm.generate([whole], max_new_tokens=6, temperature=0.0)[0].token_ids
    hot.chat.close()
    page = tmp_path / "c.html"
    talk.lines(f"/html {page}", "/system be <b>brief</b>", "c", "/new", "/quit", "never sent")
    assert "&lt;|im_start|&gt;" in page.read_text(encoding="utf-8")
    assert talk.chat.turns == []
    talk.lines("d")
    system = [{"role": "system", "content": "be <b>brief</b>"}, {"role": "user", "content": "d"}]
    assert talk.chat.turns[0].sent == encode_chat(llm.tokenizer, system)
    talk.chat.close()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("/nothing", "no command /nothing"),
        ("/set speed 5", "/set wants one of"),
        ("/set temperature hot", "temperature wants a number"),
        ("/set temperature -1", "temperature"),
        ("/set max_new_tokens 0", "max_new_tokens must be >= 1"),
        ("/html", "/html wants a file name"),
        ("/html /nowhere/x", "cannot be written"),
        ("/set 'x", "/set wants one of"),
        ('/set temperature "x', "temperature wants a number"),
        ("/set top_k 99999999999999999999", "sampling.top_k must be from 0"),
        ("x" * 5000, "error: "),
        ("\ud83d", "lone surrogate"),
    ],
)
def test_what_is_wrong_is_said_and_the_conversation_goes_on(llm, line, message):
    talk = Talk(llm).lines("a", line, "b")
    assert message in talk.said
    assert len(talk.chat.turns) == 2
    talk.chat.close()


@pytest.mark.parametrize("change", ["/set temperature 0.5", "/stats"])
def test_a_message_that_does_not_fit_forgets_nothing(llm, change):
    talk = Talk(llm).lines("a", change, "/set max_new_tokens 1000000", "too much")
    assert "the answer up to 1000000: request" in talk.said
    assert "/new begins anew" in talk.said
    talk.lines("/set max_new_tokens 6", "b")
    first, second = talk.chat.turns
    whole = [*first.sent, *first.ids, *second.sent, *second.ids]
    raw = llm.model(torch.tensor([whole])).detach()[0].log_softmax(-1)
    start = len(whole) - len(second.ids)
    law = [float(raw[start - 1 + n, i]) for n, i in enumerate(second.ids)]
    assert len(second.ids) > 0
    assert second.raw_log_probs == pytest.approx(law, abs=1e-4)
    talk.chat.close()


def test_an_answer_of_logits_that_are_no_numbers_is_forgotten(llm):
    weight = llm.model.embed.weight
    with torch.no_grad():
        before = weight[ord("z")].clone()
        weight[ord("z")] = float("nan")
    try:
        talk = Talk(llm).lines("a", "z", "b")
    finally:
        with torch.no_grad():
            weight[ord("z")] = before
    assert "error: the model's logits are not finite; this answer is forgotten" in talk.said
    assert len(talk.chat.turns) == 2
    assert all(math.isfinite(v) for turn in talk.chat.turns for v in turn.raw_log_probs)
    talk.chat.close()


def test_an_interrupt_ends_the_answer_and_not_the_conversation(llm):
    # Where the tests run in the background of a shell, SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupt(llm)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupt(llm):
    talk = Talk(llm, max_new_tokens=500, sampling=SamplingParams(seed=3))
    steps, count = llm.engine.step, []

    def step():
        count.append(1)
        if len(count) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return steps()

    llm.engine.step = step
    talk.lines("a", "b")
    llm.engine.step = steps
    first, second = talk.chat.turns
    assert first.finish_reason == "interrupted"
    assert 1 <= len(first.ids) < 10
    assert second.finish_reason in ("length", "stop")
    assert "[interrupted]" in talk.said
    assert second.sent[0] == 256, "the cut answer is ended by the template"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    talk.chat.close()


def test_a_model_without_a_template_cannot_chat(llm):
    llm.tokenizer.chat_template = None
    with pytest.raises(ConfigError, match="needs a tokenizer with a chat template"):
        Talk(llm)


def test_chat_reads_lines_from_a_pipe(folder, capsys, monkeypatch):
    import io

    monkeypatch.setattr(sys, "stdin", io.StringIO("hello\n\n/stats\n/quit\n"))
    code, out, err = run(capsys, "chat", folder, "--max-new-tokens", 3, *SMALL)
    assert code == 0
    assert "1 turns" in err
    assert out.endswith("\n")


# -- serve ----------------------------------------------------------------------------------------


def start_server(root: Path, folder: Path, *words: str, **variables: str):
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    serve = ["-m", "experiments.cli", "serve", str(folder), "--port", "0", *SMALL, *words]
    process = subprocess.Popen(
        [sys.executable, *serve], stderr=subprocess.PIPE, text=True, env=environment | variables
    )
    line = process.stderr.readline()
    assert "http://127.0.0.1:" in line, line + process.stderr.read()
    return process, int(line.partition("127.0.0.1:")[2].partition("/")[0]), line


def post(port, body, key=None):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json"}
    headers |= {} if key is None else {"Authorization": f"Bearer {key}"}
    client.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = client.getresponse()
    return answer.status, json.loads(answer.read())


def test_the_server_answers_and_ends_when_told(repo_root, folder, llm):
    process, port, line = start_server(repo_root, folder)
    try:
        assert "tiny: " in line
        assert "without a key" in line
        body = {"model": "tiny", "prompt": "hello", "temperature": 0, "max_tokens": 4}
        status, tree = post(port, body)
        assert status == 200
        expected = wanted(llm, "hello", temperature=0.0, max_new_tokens=4)
        assert tree["choices"][0]["text"] == expected.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        log = process.stderr.read()
        assert "POST '/v1/completions' 200" in log
        assert "Traceback" not in log
    finally:
        process.kill()
        process.wait()


def test_a_running_request_is_finished_after_sigterm(repo_root, folder):
    process, port, _ = start_server(repo_root, folder)
    try:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = {"prompt": "a", "max_tokens": 300, "seed": 5, "stream": True}
        client.request(
            "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
        )
        answer = client.getresponse()
        answer.read(10)
        process.send_signal(signal.SIGTERM)
        assert answer.read().endswith(b"data: [DONE]\n\n")
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


def test_the_key_is_wanted_and_never_written(repo_root, folder, tmp_path):
    key = "canary-0123456789"
    process, port, line = start_server(repo_root, folder, RLCORE_API_KEY=key)
    try:
        assert "with the API key" in line
        assert post(port, {"prompt": "a"})[0] == 401
        assert post(port, {"prompt": "a"}, "wrong")[0] == 401
        assert post(port, {"prompt": "a", "max_tokens": 1}, key)[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert key not in line + process.stderr.read()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--host", "0.0.0.0"], "refusing to listen on 0.0.0.0 without an API key"),
        (["--host", "::"], "refusing to listen on :: without an API key"),
        (["--host", "example.invalid"], "refusing to listen on example.invalid"),
        (["--api-key-file", "/nowhere"], "/nowhere: cannot be read"),
        (["--port", "70000"], "serve.port must be at most 65535"),
    ],
)
def test_unsafe_or_wrong_settings_are_refused(folder, capsys, monkeypatch, words, message):
    monkeypatch.delenv("RLCORE_API_KEY", raising=False)
    code, _, err = run(capsys, "serve", folder, *words, *SMALL)
    assert code == 2
    assert message in err


def test_keys_that_are_none_are_refused(folder, capsys, tmp_path):
    for text, message in (("", "holds no key"), ("a b", "printable ASCII without spaces")):
        (tmp_path / "key").write_text(text)
        code, _, err = run(capsys, "serve", folder, "--api-key-file", tmp_path / "key", *SMALL)
        assert code == 2
        assert message in err


def test_a_taken_port_and_a_model_of_the_other_kind_are_said(folder, capsys, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, _, err = run(capsys, "serve", folder, "--port", taken.getsockname()[1], *SMALL)
    assert code == 2
    assert "in use" in err
    diffusion = make_folder(tmp_path / "diffusion", causal=False)
    for command in ("serve", "chat"):
        code, _, err = run(capsys, command, diffusion, *SMALL)
        assert code == 2
        assert "wanted a causal model" in err
