"""LLM.generate: the model's own tokens and log-probabilities, whatever else is in the list."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from rlcore.data.tokenizers import ByteTokenizer, TokenizerError
from rlcore.errors import CheckpointError, ConfigError, NonFiniteError
from rlcore.inference.config import EngineConfig, SamplingParams
from rlcore.inference.decoding import PromptBatch, TransformerDenoiser, build_decoder
from rlcore.inference.errors import RequestError
from rlcore.inference.llm import LLM
from rlcore.inference.scoring import alternatives
from rlcore.nn.transformer import Transformer, TransformerConfig, save_pretrained

SMALL = EngineConfig(num_blocks=128, max_rows=16)
TOKENIZER = ByteTokenizer({"eos": "<eos>", "mask": "<mask>"})
PROMPTS = [[5, 6, 7], [200, 1], list(range(40))]


def make_model(causal=True, seed=0, **options):
    torch.manual_seed(seed)
    mask = {} if causal else {"mask_id": 257, "causal": False}
    shape = TransformerConfig(
        vocab_size=258, dim=32, layers=2, heads=4, kv_heads=2, **mask, **options
    )
    return Transformer(shape).double()


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def llm(model):
    return LLM(model, TOKENIZER, engine=SMALL)


@torch.no_grad()
def greedy(model, prompt, count):
    """A loop over whole sequences."""
    ids, log_probs = list(prompt), []
    for _ in range(count):
        law = model(torch.tensor([ids]))[0, -1].log_softmax(-1)
        log_probs.append(float(law.max()))
        ids.append(int(law.argmax()))
    return ids[len(prompt) :], log_probs


def test_names_of_the_package_load_without_torch():
    """``from rlcore.inference import LLM`` is how others come here; settings need no torch."""
    code = (
        "import sys; from rlcore.inference import EngineConfig, SamplingParams; "
        "assert 'torch' not in sys.modules; import rlcore.inference as i; "
        "print([getattr(i, name).__name__ for name in i.__all__])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        "['LLM', 'Engine', 'EngineConfig', 'Generated', 'Request', 'SamplingParams']"
    )
    with pytest.raises(ImportError, match="Nothing"):
        from rlcore.inference import Nothing  # noqa: F401


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"temperature": -1.0}, "sampling.temperature must be 0 .* or from 1e-06 to 1e.06, got -1"),
        ({"temperature": 1e-40}, "got 1e-40"),
        ({"temperature": float("nan")}, "got nan"),
        ({"temperature": float("inf")}, "got inf"),
        ({"top_k": -1}, "sampling.top_k must be from 0 .* to 2147483647, got -1"),
        ({"top_k": 1 << 31}, "got 2147483648"),
        ({"top_p": 0.0}, r"sampling.top_p must lie in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, "got 1.5"),
        ({"top_p": float("nan")}, "got nan"),
        ({"repetition_penalty": 1e-300}, "must be from 0.001 to 1000, got 1e-300"),
        ({"repetition_penalty": float("nan")}, "got nan"),
    ],
    ids=str,
)
def test_settings_that_no_law_can_have_are_refused(setting, message):
    with pytest.raises(ConfigError, match=message):
        SamplingParams(**setting)


def test_the_coldest_temperature_takes_the_most_probable_token(llm):
    coldest = llm.generate(PROMPTS, max_new_tokens=8, temperature=1e-6, seed=3)
    greedy = llm.generate(PROMPTS, max_new_tokens=8, temperature=0.0)
    assert [a.token_ids for a in coldest] == [a.token_ids for a in greedy]


def assert_clean(llm):
    stats = llm.engine.stats()
    assert stats["decoding"] == stats["waiting"] == 0
    assert stats["used_blocks"] == stats["cached_blocks"]


def test_greedy_answers_are_those_of_the_plain_loop(llm, model):
    answers = llm.generate(PROMPTS, max_new_tokens=10, temperature=0.0, ignore_eos=True)
    for number, (prompt, answer) in enumerate(zip(PROMPTS, answers, strict=True)):
        ids, log_probs = greedy(model, prompt, 10)
        assert answer.token_ids == ids
        assert answer.log_probs == pytest.approx(log_probs, abs=1e-9)
        assert answer.raw_log_probs == answer.log_probs
        assert (answer.prompt_index, answer.sample) == (number, 0)
        assert answer.prompt_ids == prompt
        assert answer.finish_reason == "length"
        assert answer.text == TOKENIZER.decode(ids, skip_special=True)
    assert_clean(llm)


def test_log_probs_are_those_of_the_law_that_tokens_were_drawn_from(llm, model):
    answer = llm.generate([PROMPTS[0]], max_new_tokens=8, temperature=0.5, top_k=20, seed=4)[0]
    count = len(answer.token_ids)
    logits = model(torch.tensor([PROMPTS[0] + answer.token_ids])).detach()[0, 2:-1]
    own = torch.tensor(answer.token_ids)[:, None]
    raw = logits.log_softmax(-1).gather(1, own)[:, 0]
    assert answer.raw_log_probs == pytest.approx(raw.tolist(), abs=1e-9)
    kept = logits / 0.5
    kept[kept < kept.topk(20).values[:, -1:]] = -torch.inf
    drawn = kept.log_softmax(-1).gather(1, own)[:, 0]
    assert answer.log_probs == pytest.approx(drawn.tolist(), abs=1e-9)
    assert count == len(answer.log_probs) == len(answer.raw_log_probs)


def test_an_answer_does_not_depend_on_the_list(llm):
    options = {"max_new_tokens": 12, "seed": 9}
    together = llm.generate(PROMPTS, **options)
    turned = llm.generate(PROMPTS[::-1], **options)[::-1]
    alone = [llm.generate([prompt], **options)[0] for prompt in PROMPTS]
    for first, second, third in zip(together, turned, alone, strict=True):
        assert first.token_ids == second.token_ids == third.token_ids
    other = llm.generate(PROMPTS, max_new_tokens=12, seed=10)
    assert [a.token_ids for a in other] != [a.token_ids for a in together]


def test_equal_prompts_get_answers_of_their_own(llm):
    answers = llm.generate([PROMPTS[0]] * 4, max_new_tokens=12, seed=1)
    assert len({tuple(a.token_ids) for a in answers}) == 4
    assert llm.generate([PROMPTS[0]], max_new_tokens=12, seed=1)[0].token_ids == (
        answers[0].token_ids
    )


def test_n_answers_stand_in_a_row(llm):
    answers = llm.generate(PROMPTS[:2], max_new_tokens=6, n=3, seed=2)
    places = [(a.prompt_index, a.sample) for a in answers]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert len({tuple(a.token_ids) for a in answers[:3]}) == 3
    assert_clean(llm)


def test_end_tokens_end_an_answer_and_stay_in_it(model):
    first = greedy(model, PROMPTS[0], 6)[0]
    tokenizer = ByteTokenizer({"eos": "<eos>", "mask": "<mask>"})
    llm = LLM(model, tokenizer, engine=SMALL)
    llm.stop_ids = (first[3],)
    answer = llm.generate([PROMPTS[0]], max_new_tokens=6, temperature=0.0)[0]
    assert answer.token_ids == first[: first.index(first[3]) + 1]
    assert answer.finish_reason == "stop"
    whole = llm.generate([PROMPTS[0]], max_new_tokens=6, temperature=0.0, ignore_eos=True)[0]
    assert whole.token_ids == first


def test_stop_texts_cut_the_text_and_the_tokens(llm, model):
    whole = llm.generate(["hello"], max_new_tokens=20, temperature=0.0, ignore_eos=True)[0]
    stop = whole.text[5:7]
    answers = llm.generate(
        ["hello", PROMPTS[1]], max_new_tokens=20, temperature=0.0, stop=[stop], ignore_eos=True
    )
    cut = answers[0]
    assert cut.text == whole.text[: whole.text.index(stop)]
    assert cut.finish_reason == "stop"
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)]
    assert len(cut.token_ids) < 20
    assert len(cut.log_probs) == len(cut.raw_log_probs) == len(cut.token_ids)
    assert TOKENIZER.decode(cut.token_ids[:-2]) in whole.text
    assert stop not in TOKENIZER.decode(cut.token_ids[:-2])
    assert_clean(llm)
    for bad in ({"stop": [""]}, {"stop": ["x"], "parallel": object()}):
        with pytest.raises(ConfigError, match="stop wants non-empty texts"):
            llm.generate(["a"], **bad)
    with pytest.raises(ConfigError, match="stop wants"):
        LLM(model, engine=SMALL).generate([[1]], stop=["x"])


def test_refused_prompts_leave_nothing_behind(llm, model):
    with pytest.raises(RequestError, match=r"prompt 1: .*wanted a token id in 0..257"):
        llm.generate([[1, 2], [999]], max_new_tokens=4)
    with pytest.raises(RequestError, match="prompt 2 has 3000 tokens"):
        llm.generate([[1], [2], [3] * 3000], max_new_tokens=4)
    with pytest.raises(TokenizerError, match="there is no tokenizer; give ids"):
        LLM(model, engine=SMALL).generate(["text"])
    assert llm.generate([], max_new_tokens=4) == []
    assert_clean(llm)


def test_an_interrupt_leaves_nothing_behind(llm):
    steps = llm.engine.step
    calls = []

    def step():
        calls.append(1)
        if len(calls) > 5:
            raise KeyboardInterrupt
        return steps()

    llm.engine.step = step
    with pytest.raises(KeyboardInterrupt):
        llm.generate(PROMPTS, max_new_tokens=50)
    llm.engine.step = steps
    assert_clean(llm)


def test_answers_follow_the_training_of_the_module():
    model = make_model(seed=3)
    llm = LLM(model, engine=SMALL)
    model.train()
    before = llm.generate([PROMPTS[2]], max_new_tokens=6, temperature=0.0, ignore_eos=True)[0]
    assert model.training, "the module's mode is left as it was"
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    model(torch.tensor([PROMPTS[2]])).log_softmax(-1)[..., 7].sum().neg().backward()
    optimizer.step()
    after = llm.generate([PROMPTS[2]], max_new_tokens=6, temperature=0.0, ignore_eos=True)[0]
    ids, log_probs = greedy(model, PROMPTS[2], 6)
    assert after.token_ids == ids
    assert after.log_probs == pytest.approx(log_probs, abs=1e-9), "no stale keys and values"
    assert after.log_probs != pytest.approx(before.log_probs, abs=1e-3)
    assert set(after.trace.versions[after.trace.drawn]) == {1}


def test_a_folder_gives_model_tokenizer_and_end_tokens(tmp_path):
    model = make_model(eos_id=9).float()
    save_pretrained(model, tmp_path)
    TOKENIZER.save(tmp_path)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [3, 4]}))
    llm = LLM(tmp_path, device="cpu", engine=SMALL)
    assert llm.stop_ids == (3, 4, 9, 256)
    assert llm.tokenizer.vocab_size == TOKENIZER.vocab_size
    assert (
        LLM(tmp_path, dtype=torch.float64, device="cpu").model.embed.weight.dtype == torch.float64
    )
    wanted = LLM(model, TOKENIZER, engine=SMALL).generate(["x"], temperature=0.0, max_new_tokens=5)
    found = llm.generate(["x"], temperature=0.0, max_new_tokens=5)
    assert found[0].log_probs == pytest.approx(wanted[0].log_probs, abs=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"eos_token_id": [9, 7]}))
    assert LLM(tmp_path, device="cpu", engine=SMALL).stop_ids == (3, 4, 7, 9, 256)
    for bad in (
        '{"eos_token_id": "x"}', '{"eos_token_id": [-1]}', '{"eos_token_id": 258}', "{", "[" * 10**5
    ):  # fmt: skip
        (tmp_path / "generation_config.json").write_text(bad)
        with pytest.raises(CheckpointError, match=r"generation_config\.json"):
            LLM(tmp_path, device="cpu", engine=SMALL)


def test_logits_that_are_no_numbers_are_told_of(llm):
    broken = make_model()
    with torch.no_grad():
        broken.embed.weight[7] = float("nan")
    found = LLM(broken, TOKENIZER, engine=SMALL)
    with pytest.raises(NonFiniteError, match=r"prompt 1, sample 0: .* of new token 0 .* is nan"):
        found.generate([[1, 2], [6, 7]], max_new_tokens=3, seed=2)
    assert_clean(found)
    shared = list(range(20, 60))
    with pytest.raises(NonFiniteError):
        found.generate([[*shared, 7, 8]], max_new_tokens=3)
    (after,) = found.generate([[*shared, 9, 8]], max_new_tokens=3, temperature=0.0)
    assert (after.token_ids, after.log_probs) == (
        greedy(broken, [*shared, 9, 8], 3)[0],
        pytest.approx(greedy(broken, [*shared, 9, 8], 3)[1]),
    )


def test_a_module_is_not_converted_in_silence(model):
    with pytest.raises(ConfigError, match=r"the module is torch.float64, got dtype=torch.float32"):
        LLM(model, dtype=torch.float32)
    with pytest.raises(ConfigError, match="the module is on cpu, got device=meta"):
        LLM(model, device="meta")


def test_an_empty_text_begins_with_an_end_token(llm):
    answer = llm.generate([""], max_new_tokens=1)[0]
    assert answer.prompt_ids == [256]
    with pytest.raises(TokenizerError, match="the prompt is empty"):
        LLM(llm.model, ByteTokenizer({}), engine=SMALL).generate([""])


# -- masked diffusion -----------------------------------------------------------------------------

DECODING = {"acceptance": {"name": "fixed_count", "schedule": {"name": "uniform", "steps": 4}}}


def test_masked_diffusion_answers_are_those_of_the_pipeline():
    model = make_model(causal=False, eos_id=256)
    llm = LLM(model, TOKENIZER, engine=SMALL)
    answers = llm.generate(PROMPTS, max_new_tokens=8, temperature=0.0, decoding=DECODING)
    pipeline = build_decoder(DECODING, TransformerDenoiser(model))
    result = pipeline.generate(PromptBatch.from_lists(PROMPTS, row_ids=[0, 0, 0]), 8)
    for row, answer in enumerate(answers):
        length = int(result.useful_length()[row])
        assert answer.token_ids == result.tokens[row, :length].tolist()
        assert answer.commit_steps == result.commit_step[row, :length].tolist()
        assert answer.log_probs == pytest.approx(result.log_probs[row, :length].tolist(), abs=1e-6)
        assert answer.passes == int(result.nfe[row]) == 4
        assert answer.finish_reason == ("stop" if 256 in answer.token_ids else "length")
        assert answer.trace is None


def test_stop_texts_cut_masked_diffusion_answers_too():
    model = make_model(causal=False)
    llm = LLM(model, TOKENIZER, engine=SMALL)
    options = {"max_new_tokens": 24, "temperature": 1.0, "seed": 5, "decoding": DECODING}
    whole = llm.generate(PROMPTS[:1], **options)[0]
    letters = list(dict.fromkeys(i for i in whole.token_ids if 32 < i < 127))
    assert len(letters) > 3
    late, early = chr(letters[3]), chr(letters[1])
    place, at = whole.text.find(early), whole.token_ids.index(letters[1])
    cut = llm.generate(PROMPTS[:1], stop=[late, early, "never"], **options)[0]
    assert cut.finish_reason == "stop"
    assert cut.text == whole.text[:place]
    assert cut.token_ids == whole.token_ids[: at + 1]
    assert cut.log_probs == whole.log_probs[: at + 1]
    assert cut.commit_steps == whole.commit_steps[: at + 1]
    assert llm.generate(PROMPTS[:1], stop="never", **options)[0].token_ids == whole.token_ids


def test_masked_diffusion_answers_do_not_depend_on_the_list():
    model = make_model(causal=False)
    options = {"max_new_tokens": 8, "temperature": 1.0, "seed": 3, "n": 2, "decoding": DECODING}
    together = LLM(model, engine=SMALL).generate(PROMPTS, **options)
    few_rows = EngineConfig(num_blocks=8, max_rows=2)
    apart = LLM(model, engine=few_rows).generate(PROMPTS[::-1], **options)
    for number in range(3):
        for sample in range(2):
            one, other = together[2 * number + sample], apart[2 * (2 - number) + sample]
            assert (one.prompt_index, one.sample) == (number, sample)
            assert one.token_ids == other.token_ids
    assert together[0].token_ids != together[1].token_ids
    other_seed = LLM(model, engine=SMALL).generate(PROMPTS, **options | {"seed": 4})
    assert [a.token_ids for a in other_seed] != [a.token_ids for a in together]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(
    ("prompts", "options", "message"),
    [
        ([1, 2, 3], {}, "a prompt is a text or a list of token ids, got 1"),
        ([None], {}, "a prompt is a text or a list of token ids, got None"),
        ([b"abc"], {}, "a prompt is a text or a list of token ids, got b'abc'"),
        ([{1: 2}], {}, "a prompt is a text or a list of token ids, got {1: 2}"),
        ([[True]], {}, "wants integer token ids, got True"),
        ([[1]], {"n": True}, "n must be an integer >= 1, got True|got n=True"),
        ([[1]], {"max_new_tokens": "3"}, "must be an integer >= 1, got '3'|max_new_tokens='3'"),
        ([[1]], {"temperature": True}, "sampling.temperature must be a number, got True"),
        ([[1.5]], {}, "wants integer token ids, got .*1.5"),
        ([["a"]], {}, "wants integer token ids, got .*'a'"),
        ([[[1]]], {}, r"wants integer token ids, got \[1\]"),
        ([[999]], {}, "999, wanted a token id in 0"),
        ([[1]], {"n": 0}, "n must be an integer >= 1, got 0|got n=0"),
        ([[1]], {"max_new_tokens": 0}, "max_new_tokens.*(got |=)0"),
        ([[1]], {"temperature": "hot"}, "sampling.temperature must be a number, got 'hot'"),
        ([[1]], {"temperature": None}, "sampling.temperature must be a number, got None"),
        ([[1]], {"top_k": 1.5}, "sampling.top_k must be an integer, got 1.5"),
        ([[1]], {"seed": 1.5}, "sampling.seed must be an integer, got 1.5"),
        ([[1]], {"decoding": 5}, "decoding"),
    ],
)
def test_what_is_no_prompt_or_setting_is_refused_by_name(causal, prompts, options, message):
    llm = LLM(make_model(causal=causal), engine=SMALL)
    with pytest.raises(ConfigError, match=message):
        llm.generate(prompts, **{"max_new_tokens": 4, **options})


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"block_size": 0}, "engine.block_size must be an integer >= 1, got 0"),
        ({"max_rows": 2.5}, "engine.max_rows must be an integer >= 1, got 2.5"),
        ({"prefill_chunk": "9"}, "engine.prefill_chunk must be an integer >= 1, got '9'"),
        ({"num_blocks": True}, "engine.num_blocks must be an integer >= 1 or null, got True"),
        ({"max_row_blocks": 0}, "engine.max_row_blocks must be an integer >= 1 or null, got 0"),
    ],
)
def test_wrong_settings_of_the_engine_are_refused_by_name(setting, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(**setting)


@pytest.mark.parametrize(
    "option",
    [{"parallel": object()}, {"max_path_tokens": 5}, {"ignore_eos": True},
     {"repetition_penalty": 1.1}],
)  # fmt: skip
def test_settings_of_the_other_kind_of_model_are_refused(option, llm):
    diffusion = LLM(make_model(causal=False), engine=SMALL)
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is for causal models"):
        diffusion.generate([[1]], **option)
    with pytest.raises(ConfigError, match="decoding is for masked-diffusion models"):
        llm.generate([[1]], decoding={})
    with pytest.raises(ConfigError, match="wanted a causal model"):
        diffusion.engine  # noqa: B018


@pytest.mark.parametrize(
    ("prompt", "option", "message"),
    [
        ([[1], [5, 258]], {}, r"prompt 1: prompt\[1\] is 258, wanted a token id in 0..257"),
        ([[10**30]], {}, r"prompt 0: prompt\[0\] is 10+, wanted"),
        ([[3], [257]], {}, "prompt 1 holds the mask token 257"),
        ([[3]], {"n": 0}, "got n=0 and"),
        ([[3]], {"n": 1 << 17}, "n from 1 to 65536"),
        ([[3]], {"max_new_tokens": 0}, "max_new_tokens=0"),
        ([[3]], {"max_new_tokens": 1 << 15}, "max_new_tokens from 1 to 32767"),
    ],
)
def test_what_no_masked_diffusion_model_can_answer_is_refused(prompt, option, message):
    with pytest.raises(RequestError, match=message):
        LLM(make_model(causal=False), engine=SMALL).generate(prompt, **option)


# -- scoring and progress -------------------------------------------------------------------------


def test_alternatives_are_the_best_of_the_softmax(model):
    new = [9, 8, 7, 6]
    found = alternatives(model, PROMPTS[0], new, 3)
    law = model(torch.tensor([PROMPTS[0] + new])).detach()[0, 2:-1].log_softmax(-1).topk(3)
    assert [[token for token, _ in row] for row in found] == law.indices.tolist()
    for row, values in zip(found, law.values.tolist(), strict=True):
        assert [value for _, value in row] == pytest.approx(values, abs=1e-12)
    assert alternatives(model, [1], [], 3) == []
    for prompt, top in (([], 3), ([1], 0)):
        with pytest.raises(ConfigError, match="alternatives want a prompt and top >= 1"):
            alternatives(model, prompt, new, top)
