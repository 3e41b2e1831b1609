"""A page in a frame, as the pipeline UI shows it, in headless Chromium: everything that can be clicked is clicked."""

import http.server
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

_CLICK = "a, area, nav button, summary"

# Before the page's own content security policy, which forbids it: it acts for the reader.
_READER = """<script>addEventListener("load", () => {
  const found = [...document.querySelectorAll("CLICK")];
  for (const one of found) one.click();
  setTimeout(() => parent.postMessage({clicked: found.length, shown: document.body.innerText.length,
    scrolled: document.scrollingElement.scrollTop, buttons: !document.querySelector("nav[hidden]")}, "*"), 500);
});</script>""".replace("CLICK", _CLICK)

_AROUND = """<!doctype html><title>the UI</title><iframe id="frame" sandbox="%s" width="900" height="300"></iframe>
<script>
const frame = document.getElementById("frame"), seen = {loads: 0};
frame.addEventListener("load", () => {
  seen.loads += 1;
  // From the first load on, however long a busy machine takes to it.
  if (seen.loads === 1) setTimeout(report, 3000);
  const inside = frame.contentDocument;
  if (!inside || seen.loads > 1) return;
  const found = [...inside.querySelectorAll("%s")];
  for (const one of found) one.click();
  seen.clicked = found.length;
});
addEventListener("message", event => Object.assign(seen, event.data));
function report() {
  const inside = frame.contentDocument && frame.contentDocument.body;
  if (inside) seen.shown = inside.innerText.length;
  fetch("/seen", {method: "POST", body: JSON.stringify(seen)});
}
frame.srcdoc = %s;
</script>"""


def click_everything(page: str, folder: Path, *, scripts: bool) -> dict[str, Any]:
    """The page as a reader sees it in a sandboxed `srcdoc` frame after clicking every link, button and summary.

    Args:
        page: HTML.
        folder: where the browser's profile is written.
        scripts: whether the frame allows scripts, as the UI's does (`sandbox="allow-scripts"`).

    Returns:
        `loads`: how often the frame was loaded, 1 if it stayed; `clicked`: how many things were; `shown`: characters of
        text in the frame afterwards; with `scripts` also `scrolled`, pixels, and `buttons`, whether they are shown.
    """
    content = page.replace("<head>", "<head>" + _READER, 1) if scripts else page
    # Without scripts inside, the page around clicks, which needs the same origin.
    sandbox = "allow-scripts" if scripts else "allow-same-origin"
    # A "</script>" inside the string would end the script around it.
    around = _AROUND % (sandbox, _CLICK, json.dumps(content).replace("</", "<\\/"))
    answers: queue.Queue[dict[str, Any]] = queue.Queue()

    class Ui(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(around.encode() if self.path == "/" else b"<!doctype html>another page of the UI")

        def do_POST(self) -> None:
            answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ui) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-proxy-server",
            "--remote-debugging-port=0",
        ]
        command += [f"--user-data-dir={folder / 'profile'}", address]
        browser = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            return answers.get(timeout=120)
        finally:
            browser.kill()
            browser.wait()
            server.shutdown()
