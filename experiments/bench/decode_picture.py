"""A picture of the order in which decoding fills a response, as SVG.

    python -m experiments.bench.decode_picture chain_sum_small --out docs/results/decode/order.svg

One strip a composition: the response's tokens from left to right, coloured by the pass that
committed them, from dark (first) to bright (last); ``·`` is the end token.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from experiments.bench.decode import CACHE, compositions, trained_model
from experiments.bench.masked_beds import BEDS, EOS
from rlcore.inference.decoding import PromptBatch, TransformerDenoiser, build_decoder

CELL, TITLE, GAP = 14, 15, 10
RAMP = ((43, 20, 92), (36, 104, 142), (32, 164, 134), (253, 231, 37))
"""Colours of the first, the middle and the last passes."""
SHOWN = (
    "full, 1 a pass",
    "semi-AR, 1 a pass",
    "ASS",
    "EOSER 0.01 + ASS",
    "full, threshold 0.9",
    "EOSER 0.4, threshold 0.9",
)


@dataclass(frozen=True)
class Strip:
    """A decoded response.

    Attributes:
        title: Above the strip.
        symbols: One a token.
        steps: The pass that committed each; negative for none.
    """

    title: str
    symbols: Sequence[str]
    steps: Sequence[int]


def colour(share: float) -> str:
    """Return the colour of a share in [0, 1] of the passes."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(place), len(RAMP) - 2)
    part = place - low
    mixed = [round(a + part * (b - a)) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True)]
    return f"#{mixed[0]:02x}{mixed[1]:02x}{mixed[2]:02x}"


def picture(strips: Sequence[Strip]) -> str:
    """Return the strips as one SVG document."""
    width = CELL * max(len(strip.symbols) for strip in strips) + 2
    height = len(strips) * (TITLE + CELL + GAP)
    body = []
    for index, strip in enumerate(strips):
        top = index * (TITLE + CELL + GAP)
        body.append(f'<text x="1" y="{top + 11}" class="t">{escape(strip.title)}</text>')
        last = max(1, *strip.steps)
        for place, (symbol, step) in enumerate(zip(strip.symbols, strip.steps, strict=True)):
            share = step / last
            fill = "#cccccc" if step < 0 else colour(share)
            x, y = 1 + CELL * place, top + TITLE
            ink = "#000" if share > 0.7 or step < 0 else "#fff"
            body.append(
                f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{fill}"/>'
                f'<text x="{x + CELL / 2 - 0.5}" y="{y + 10}" fill="{ink}">{escape(symbol)}</text>'
            )
    style = (
        "text{font:10px monospace;text-anchor:middle}"
        ".t{font:11px sans-serif;text-anchor:start;fill:#555}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        f"<style>{style}</style>{''.join(body)}</svg>\n"
    )


def strips_of(bed_name: str, folder: Path, row: int, names: Sequence[str]) -> list[Strip]:
    """Decode one test prompt with some compositions."""
    from envs.reasoning.chain_sum import SYMBOLS

    bed = BEDS[bed_name]()
    model = trained_model(bed, folder, lambda text: None)
    every, _ = bed.test(0, row + 1)
    prompts = PromptBatch(every.ids[row:], every.real[row:])
    asked = "".join(SYMBOLS[t] for t in prompts.ids[prompts.real].tolist())
    symbols = [*SYMBOLS, "?", "?"]
    symbols.insert(EOS, "·")
    found = []
    for name in names:
        settings = {"stop": {"eos": False}, **compositions(bed)[name]}
        result = build_decoder(settings, TransformerDenoiser(model)).generate(prompts, bed.length)
        title = f"{asked}  {name}: {int(result.nfe[0])} passes"
        tokens = [symbols[token] for token in result.tokens[0].tolist()]
        found.append(Strip(title, tokens, result.commit_step[0].tolist()))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(prog="decode_picture")
    parser.add_argument("bed", choices=[name for name in BEDS if name.startswith("chain_sum")])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=CACHE, help="folder of trained models")
    parser.add_argument("--row", type=int, default=0, help="which test prompt")
    chosen = parser.parse_args(arguments)
    text = picture(strips_of(chosen.bed, chosen.weights, chosen.row, SHOWN))
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text)
    sys.stderr.write(f"wrote {chosen.out}\n")


if __name__ == "__main__":
    main()
