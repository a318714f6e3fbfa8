"""The engine of an exported page in node: the worker's own scripts, with the calls of a page."""

import json
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any

from nextchar.exporting.html import worker_program

NODE = shutil.which("node")
DRIVER = """
const given = JSON.parse(require("fs").readFileSync(0, "utf8")), replies = given.calls.map(() => ({ steps: [] }));
const send = (k) => onmessage({ data: { call: k, ...given.calls[k] } });
let checked, left = given.calls.length + 1;
globalThis.postMessage = (sent) => {
  const reply = replies[sent.call];
  if (sent.opened) given.calls.slice(0, given.together ? undefined : 1).forEach((call, k) => send(k));
  if (!given.together && (sent.done || sent.error) && sent.call + 1 < given.calls.length) send(sent.call + 1);
  if (sent.checked || sent.damaged) checked = sent;
  reply?.steps.push(...(sent.steps ?? []));
  if (sent.error) reply.error = sent.error;
  left -= Boolean(sent.checked || sent.done || sent.error) + (sent.damaged ? left : 0);
  if (left === 0) process.stdout.write(JSON.stringify({ replies, checked }), () => process.exit());
};
onmessage({ data: { open: given.open } });
"""


def run(
    data: dict[str, Any], calls: Sequence[dict[str, Any]] = (), *, together: bool = True
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Open a model in a worker, and make calls together or in turn; return the reply to each, and the result of the check."""
    assert NODE
    words = [NODE, "--eval", worker_program() + DRIVER]
    given = json.dumps({"open": data, "calls": list(calls), "together": together}).encode()
    found = json.loads(subprocess.run(words, input=given, stdout=subprocess.PIPE, check=True).stdout)
    return found["replies"], found["checked"]


def ids(reply: dict[str, Any]) -> list[int]:
    """Return the ids of a reply's characters."""
    assert "error" not in reply, reply
    return [step["id"] for step in reply["steps"]]
