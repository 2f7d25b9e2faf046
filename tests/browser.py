"""Pages in a real browser without a window: what it makes of them, and what is wrong on them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")

# What a person would see at once and a parser does not. Text is looked at word by word, where the
# browser put it.
_LOOK = r"""
const WORD = /[^\s\/_\-–.,:;=|+@&?(){}\[\]"']+/g;
function luminance(colour) {
  const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function background(win, element) {
  for (let each = element; each; each = each.parentElement) {
    const colour = win.getComputedStyle(each).backgroundColor;
    if (!/, 0\)|transparent/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
}
function look(win) {
  const doc = win.document, wrong = [], all = [...doc.body.querySelectorAll("*")];
  const short = text => text.trim().replace(/\s+/g, " ").slice(0, 60);
  if (doc.documentElement.scrollWidth > win.innerWidth)
    wrong.push(`the page is ${doc.documentElement.scrollWidth} wide, of ${win.innerWidth}`);
  for (const element of all) {
    const style = win.getComputedStyle(element), hides = /hidden|clip/;
    const cuts = hides.test(style.overflowX) && element.scrollWidth > element.clientWidth
      || hides.test(style.overflowY) && element.scrollHeight > element.clientHeight;
    if (cuts && !element.closest("svg")) wrong.push(`cut off: ${short(element.textContent)}`);
  }
  const walker = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT), texts = [];
  while (walker.nextNode()) texts.push(walker.currentNode);
  for (const text of texts) {
    const parent = text.parentElement, range = doc.createRange();
    range.selectNodeContents(text);
    if (!text.data.trim() || !range.getClientRects().length) continue;
    const boxes = "svg, td, th, figcaption, p, li, h1, h2, summary, .figures > div";
    const of = parent.closest(boxes) || parent;
    const box = of.getBoundingClientRect();
    const scrolls = parent.closest(".own, .fold > tbody > tr > td > div");
    for (const word of text.data.matchAll(WORD)) {
      range.setStart(text, word.index);
      range.setEnd(text, word.index + word[0].length);
      const rects = [...range.getClientRects()];
      const lines = new Set(rects.map(rect => Math.round(rect.top)));
      if (lines.size > 1) wrong.push(`broken: ${word[0]}`);
      const reach = scrolls && scrolls.scrollWidth > scrolls.clientWidth ? Infinity : box.right + 1;
      if (rects.some(rect => rect.height < 8)) wrong.push(`too small: ${word[0]}`);
      if (rects.some(rect => rect.left < box.left - 1 || rect.right > reach))
        wrong.push(`beyond its box: ${word[0]} (${short(of.textContent)})`);
    }
    if (parent.closest("svg")) continue;
    const [a, b] = [win.getComputedStyle(parent).color, background(win, parent)].map(luminance);
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) wrong.push(`contrast of ${contrast.toFixed(1)}: ${short(text.data)}`);
  }
  return {
    wrong,
    dark: win.matchMedia("(prefers-color-scheme: dark)").matches,
    width: win.innerWidth,
    words: doc.body.textContent.length,
    title: doc.title,
    scrolled: all.filter(e => e.scrollWidth > e.clientWidth && !e.closest("svg"))
      .map(e => short(e.textContent)),
  };
}
const frames = [...document.querySelectorAll("iframe")];
const isThere = ({ readyState, body }) => readyState === "complete" && body?.childElementCount;
Promise.all(frames.map(frame => isThere(frame.contentDocument)
  || new Promise(go => { frame.onload = go; })))
  .then(() => {
    const found = Object.fromEntries(frames.map(frame => {
      for (const each of frame.contentDocument.querySelectorAll("details")) each.open = true;
      return [frame.id, look(frame.contentWindow)];
    }));
    document.getElementById("found").textContent = JSON.stringify(found);
  }).catch(error => { document.getElementById("found").textContent = `${error}\n${error.stack}`; });
"""


def browse(page: Path, scratch: Path, *how: str) -> str:
    """Open a page in a browser without a window, and return what it printed."""
    assert BROWSER is not None
    quiet = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
    started = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", *quiet, f"--user-data-dir={scratch / 'profile'}"),
            *("--window-size=1200,2400", *how, page.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert started.returncode == 0, started.stderr
    return started.stdout


def look_at(
    pages: Mapping[str, str], widths: Sequence[int], scratch: Path
) -> dict[str, dict[str, Any]]:
    """Lay pages out in several widths, light and dark, with one start of the browser.

    Returns what was found by `<name> <width> <scheme>`: above all `wrong`, a line for each thing
    that is not as it should be (a page wider than its window, text that is cut off or beyond its
    box, words that are broken, text that one cannot read).
    """
    frames = [
        f'<iframe id="{name} {width} {scheme}" srcdoc="{html.escape(page)}" '
        f'style="width:{width}px;height:3000px;border:0;color-scheme:{scheme}"></iframe>'
        for name, page in pages.items()
        for width in widths
        for scheme in ("light", "dark")
    ]
    wrapper = scratch / "wrapper.html"
    wrapper.write_text(
        f'<meta charset="utf-8"><pre id="found"></pre>{"".join(frames)}<script>{_LOOK}</script>',
        encoding="utf-8",
    )
    printed = browse(wrapper, scratch, "--dump-dom")
    found = re.search(r'<pre id="found">(.*?)</pre>', printed, re.DOTALL)
    assert found and found[1].startswith("{"), found and html.unescape(found[1])
    return json.loads(html.unescape(found[1]))
