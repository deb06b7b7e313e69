"""Transcripts as one HTML file: no server, no request to anywhere, every generated text escaped.

Probabilities are colours, with the figures under the pointer; branches stand side by side; for
masked diffusion a slider plays the order in which tokens were committed. The page's only script is
the constant below, named by its hash in the page's policy: no other script runs, whatever a model
wrote.
"""

from __future__ import annotations

import base64
import hashlib
import math
import os
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from experiments.transcript import Answer, Branch, Fork, Token

# Lower ends of the bands of probability, and their names.
BANDS = ((0.9, "over 0.9"), (0.5, "0.5 to 0.9"), (0.2, "0.2 to 0.5"), (0.05, "0.05 to 0.2"),
         (0.01, "0.01 to 0.05"), (0.0, "under 0.01"))  # fmt: skip

STYLE = """
:root{--ink:#1c2530;--soft:#5c6773;--line:#dfe4ea;--back:#f6f7f9;--card:#fff;--accent:#0072b2;
--b1:#fdf0d5;--b2:#fbdca6;--b3:#f8c273;--b4:#f29f58;--b5:#e5703a;--forced:#5c6773}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#9aa5b1;--line:#313b46;--back:#12171d;
--card:#1a2129;--accent:#56b4e9;--b1:#33291a;--b2:#4a371a;--b3:#65461a;--b4:#8a5418;--b5:#b3541e;
--forced:#9aa5b1}}
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1200px;margin:0 auto;padding:32px 20px 64px}h1{font-size:24px;margin:0 0 2px}
.sub,.facts{color:var(--soft);font-size:13px}.facts{margin:0 0 10px}.facts span{margin-right:16px}
article{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:16px 18px;
margin:18px 0}h2{font-size:15px;margin:0 0 8px}h3{font-size:12px;color:var(--soft);
margin:10px 0 4px;text-transform:uppercase;letter-spacing:.06em}
.text{font:14px/1.75 ui-monospace,SFMono-Regular,Menlo,monospace;white-space:pre-wrap;
overflow-wrap:anywhere}
.t{border-radius:3px;padding:1px 0}.t.b1{background:var(--b1)}
.t.b2{background:var(--b2)}.t.b3{background:var(--b3)}.t.b4{background:var(--b4)}
.t.b5{background:var(--b5);color:#fff}.t.f{color:var(--forced);border-bottom:1px dotted}
.t.d{color:#111}.t.x{background:none!important;color:transparent;border:1px dashed var(--line)}
.t:hover{outline:2px solid var(--accent)}#tip{position:fixed;display:none;white-space:pre;
background:var(--ink);color:var(--card);padding:6px 9px;border-radius:6px;pointer-events:none;
font:12px/1.45 ui-monospace,Menlo,monospace;max-width:60ch;overflow:hidden;z-index:9}
.c{color:var(--accent);font-size:.85em}.t.b5 .c,.t.x .c{color:inherit}
.fork{display:grid;grid-auto-flow:column;grid-auto-columns:minmax(130px,1fr);gap:10px;
overflow-x:auto;margin:8px 0 0;padding-bottom:4px}
.branch{border:1px solid var(--line);border-top:3px solid var(--accent);border-radius:6px;
padding:8px 10px;min-width:0}.branch>h3{margin-top:0;text-transform:none}
.join{height:14px;border:2px solid var(--accent);border-top:0;border-radius:0 0 8px 8px;
margin:0 8% 8px}.open{color:var(--soft);font-size:12px;margin:2px 0 8px}
.legend{display:flex;flex-wrap:wrap;gap:6px 14px;font-size:12px;color:var(--soft);margin:8px 0}
.legend i{display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:5px;
vertical-align:-2px;border:1px solid var(--line)}
.ramp{width:160px;height:14px;border-radius:3px;border:1px solid var(--line)}
.play{display:flex;gap:10px;align-items:center;font-size:13px;margin:6px 0 10px}
.play input{flex:1;max-width:420px}.play button{font:inherit;padding:2px 12px}
"""

SCRIPT = """
var tip=document.getElementById('tip');
document.addEventListener('mouseover',function(event){
 var token=event.target.closest('[data-tip]');
 tip.style.display=token?'block':'none';
 if(!token){return;}
 tip.textContent=token.dataset.tip;
 var box=token.getBoundingClientRect(),below=box.bottom+6;
 tip.style.left=Math.max(0,Math.min(box.left,innerWidth-tip.offsetWidth-8))+'px';
 tip.style.top=(below+tip.offsetHeight<innerHeight?below:box.top-tip.offsetHeight-6)+'px';
});
document.querySelectorAll('.play').forEach(function(bar){
 var range=bar.querySelector('input'),out=bar.querySelector('output'),
 button=bar.querySelector('button'),timer=null,
 tokens=bar.parentNode.querySelectorAll('.t[data-step]');
 function show(){var now=+range.value;out.textContent=now+' / '+range.max;
  tokens.forEach(function(t){t.classList.toggle('x',+t.dataset.step>now);});}
 function stop(){clearInterval(timer);timer=null;button.textContent='Play';}
 range.addEventListener('input',function(){stop();show();});
 button.addEventListener('click',function(){
  if(timer){stop();return;}
  if(+range.value>=+range.max){range.value=0;}
  button.textContent='Stop';
  timer=setInterval(function(){range.value=+range.value+1;show();
   if(+range.value>=+range.max){stop();}},Math.max(40,4000/Math.max(1,+range.max)));});
 show();
});
"""

# Five points of a ramp from dark blue to yellow, even in lightness (viridis).
_RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))


def write_transcript(
    path: str | Path, answers: Sequence[Answer], title: str = "Transcript"
) -> Path:
    """Write the page of answers and return its path.

    Raises:
        OSError: The file cannot be written.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(render_transcript(answers, title), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def render_transcript(answers: Sequence[Answer], title: str = "Transcript") -> str:
    """Return the page of answers as HTML."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    body = "\n".join(_article(answer, number) for number, answer in enumerate(answers))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}</style></head>\n<body><main>\n"
        f'<h1>{_text(title)}</h1><p class="sub">{len(answers)} '
        f"answer{'' if len(answers) == 1 else 's'}</p>\n{body}\n</main>"
        f'<div id="tip"></div><script>{SCRIPT}</script></body></html>\n'
    )


# -- one answer -----------------------------------------------------------------------------------


def _article(answer: Answer, number: int) -> str:
    steps = [token.step for token in answer.body.tokens() if token.step is not None]
    last = max(steps, default=0)
    known = any(token.log_prob is not None for token in answer.body.tokens())
    legend = _ramp_legend(last) if steps else _band_legend() if known else ""
    prompt = "".join(_token(token, None) for token in answer.prompt)
    return (
        f"<article><h2>Answer {number + 1}</h2>{_facts(answer.facts)}"
        f'<h3>Prompt</h3><div class="text">{prompt}</div><h3>Answer</h3>{legend}'
        f"{_player(last) if steps else ''}"
        f'<div class="text">{_parts(answer.body, last if steps else None)}</div></article>'
    )


def _facts(facts: Mapping[str, object]) -> str:
    shown = "".join(
        f"<span>{_text(name)}: <b>{_text(_number(value))}</b></span>"
        for name, value in facts.items()
    )
    return f'<p class="facts">{shown}</p>' if shown else ""


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parts(branch: Branch, last: int | None) -> str:
    out = []
    for part in branch.parts:
        out.append(_token(part, last) if isinstance(part, Token) else _fork(part, last))
    return "".join(out)


def _fork(fork: Fork, last: int | None) -> str:
    columns = []
    for number, branch in enumerate(fork.branches, 1):
        label = branch.label or f"branch {number}"
        reason = f" · {branch.finish_reason}" if branch.finish_reason else ""
        columns.append(
            f'<div class="branch"><h3>{_text(label + reason)}</h3>{_parts(branch, last)}</div>'
        )
    end = '<div class="join"></div>' if fork.joined else '<div class="open">not joined</div>'
    return f'<div class="fork">{"".join(columns)}</div>{end}'


def _token(token: Token, last: int | None) -> str:
    marks, style, step = ["t"], "", ""
    if last is not None and token.step is not None:
        marks.append("d")
        style = f' style="background:{_ramp(token.step / max(last, 1))}"'
        step = f' data-step="{token.step}"'
    elif token.log_prob is not None and not token.forced:
        band = _band(token.log_prob)
        marks += [f"b{band}"] if band else []
    marks += ["f"] if token.forced else []
    shown = _visible(token.text)
    tip = escape(_tip(token), quote=True)
    return f'<span class="{" ".join(marks)}"{style}{step} data-tip="{tip}">{shown}</span>'


def _band(log_prob: float) -> int:
    probability = math.exp(min(log_prob, 0.0))
    return next(n for n, (low, _) in enumerate(BANDS) if probability >= low or low == 0.0)


def _tip(token: Token) -> str:
    lines = [f"id {token.id}  '{_plain(token.text):.40}'"]
    if token.forced:
        lines.append("written by a rule")
    if token.log_prob is not None:
        lines.append(f"p {math.exp(min(token.log_prob, 0.0)):.4f}  log p {token.log_prob:.4f}")
    if token.drawn_log_prob is not None:
        lines.append(f"drawn with log p {token.drawn_log_prob:.4f}")
    if token.step is not None:
        lines.append(f"committed in step {token.step}")
    if token.alternatives:
        lines.append(f"rank {token.rank or f'beyond {len(token.alternatives)}'}")
    lines += [f"  {math.exp(lp):.4f}  '{_plain(text):.30}'" for text, lp in token.alternatives]
    return "\n".join(lines)


def _ramp(share: float) -> str:
    at = min(max(share, 0.0), 1.0) * (len(_RAMP) - 1)
    low = min(int(at), len(_RAMP) - 2)
    mixed = [
        # Lighter than the ramp itself, so that black text can be read on all of it.
        round(255 - 0.5 * (255 - (a + (b - a) * (at - low))))
        for a, b in zip(_RAMP[low], _RAMP[low + 1], strict=True)
    ]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def _band_legend() -> str:
    entries = "".join(
        f'<span><i class="t b{n}"></i>{escape(name)}</span>' for n, (_, name) in enumerate(BANDS)
    )
    return f'<div class="legend"><span>probability</span>{entries}</div>'


def _ramp_legend(last: int) -> str:
    stops = ",".join(_ramp(n / 8) for n in range(9))
    return (
        '<div class="legend"><span>committed in step 0</span>'
        f'<span class="ramp" style="background:linear-gradient(90deg,{stops})"></span>'
        f"<span>{last}</span></div>"
    )


def _player(last: int) -> str:
    return (
        '<div class="play"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" step="1" '
        f'aria-label="step"><output>{last} / {last}</output></div>'
    )


# -- text -----------------------------------------------------------------------------------------


def _text(value: str) -> str:
    return escape(_plain(value), quote=True)


def _plain(value: str) -> str:
    """Return a text with what cannot be seen (controls, changes of direction) written out."""
    return "".join(_written(letter) if _unseen(letter) else letter for letter in value)


def _visible(value: str) -> str:
    """Return generated text as HTML; what cannot be seen becomes a small coloured name."""
    out = []
    for letter in value:
        if letter == "\n":
            out.append('<span class="c">↵</span>\n')
        elif letter == "\t":
            out.append("\t")
        elif _unseen(letter):
            out.append(f'<span class="c">{escape(_written(letter))}</span>')
        else:
            out.append(escape(letter, quote=True))
    return "".join(out)


def _unseen(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _written(letter: str) -> str:
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"
