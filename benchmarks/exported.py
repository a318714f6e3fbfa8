"""Measures an exported HTML file: its size, and characters a second of its engine in node and in Chromium.

    python benchmarks/exported.py runs/book
    python benchmarks/exported.py runs/book --weights fp32 --chars 500

Close other programs first. CPU time says what one core does even on a machine that is not quiet. The text is compared with
that of the engine in Python.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import BROWSER, browser  # type: ignore[import-not-found]  # of the tests
from nextchar.exporting.export import export
from nextchar.exporting.html import engine_data, worker_program
from nextchar.sampling.sample import sample
from nextchar.storage import to_file

SCRIPT = """
const [data, length] = JSON.parse(require("fs").readFileSync(0, "utf8")), ids = [];
let used, begun;
globalThis.postMessage = (sent) => {
  if (sent.checked) {
    [used, begun] = [process.cpuUsage(), performance.now()];
    onmessage({ data: { call: 1, task: "generate", text: "", seed: "0", length } });
  }
  ids.push(...(sent.steps ?? []).map((step) => step.id));
  if (!sent.done) return;
  const { user, system } = process.cpuUsage(used);
  const found = { seconds: (performance.now() - begun) / 1000, cpu: (user + system) / 1e6, ids };
  process.stdout.write(JSON.stringify(found), () => process.exit());
};
onmessage({ data: { open: data } });
"""
IN_PAGE = """(async () => {
    const begun = performance.now();
    let text = "";
    for await (const step of nextchar.generate({ prompt: "", seed: 0, length: %d, temperature: 1, alternatives: 8 })) text += step.text;
    return [text, (performance.now() - begun) / 1000];
})()"""


def in_node(data: dict[str, Any], length: int) -> dict[str, Any]:
    """Return what node generates, and how long it took."""
    words = [str(shutil.which("node")), "--eval", worker_program() + SCRIPT]
    given = json.dumps([data, length]).encode()
    found: dict[str, Any] = json.loads(subprocess.run(words, input=given, stdout=subprocess.PIPE, check=True).stdout)  # noqa: S603
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--weights", choices=["int8", "fp32"], default="int8")
    parser.add_argument("--chars", type=int, default=2000)
    given = parser.parse_args()
    file = to_file(given.model)
    expected = sample(file, "", length=given.chars, weights=given.weights, seed=0).text
    codes = file.vocabulary.codes
    print(f"{file.architecture}, {len(codes)} {file.vocabulary.units}, {given.weights}, {given.chars:,} characters")
    if shutil.which("node"):
        found = in_node(engine_data(file, given.weights), given.chars)
        same = [codes[id_] for id_ in found["ids"]] == [*map(ord, expected)]
        speeds = f"{given.chars / found['seconds']:,.0f} characters/s, {given.chars / found['cpu']:,.0f} a second of CPU time"
        print(f"node       {speeds}; the text of Python: {'yes' if same else 'NO'}")
    if not BROWSER:
        return
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as page:
        path = Path(folder) / "model.html"
        begun = time.perf_counter()
        written = export(file, path, weights=given.weights)
        print(f"file       {written.bytes / 1e6:.2f} MB, exported in {time.perf_counter() - begun:.1f} s")
        page.open(path.as_uri())
        first = page.ask("performance.getEntriesByName('first step')[0].startTime") / 1000
        page.ask("document.querySelector('button.main').click()")  # ends what it writes when it is opened
        text, seconds = page.ask(IN_PAGE % given.chars)
        same = text == expected
        print(f"Chromium   {given.chars / seconds:,.0f} characters/s; the text of Python: {'yes' if same else 'NO'}")
        print(f"           first character {first:.2f} s after opening")


if __name__ == "__main__":
    main()
