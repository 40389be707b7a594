"""What it costs to be heard: 1,000 small revisions with and without metrics, a channel, and tracing.

In turns, several rounds, each on a new database; the ratios are of medians (and of the best) taken in this one run.
"""

import asyncio
import statistics
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from thousand import ROUNDS, fresh, ours, write_revisions

from migrator.servers import postgres

DATABASE = '[databases.main]\nurl = "${DATABASE_URL}"\n'
METRICS = '[metrics]\ntextfile = "migrator.prom"\n'
CHANNEL = '[notify.oncall]\nkind = "webhook"\nurl = "{url}"\non = ["success", "failure"]\n'
TRACING = "[tracing]\nenabled = true\n"
KINDS = {
    "nobody hears": "",
    "metrics": METRICS,
    "a channel": CHANNEL,
    "tracing": TRACING,
    "all of them": METRICS + CHANNEL + TRACING,
}


class Receiver(BaseHTTPRequestHandler):
    """Takes every message."""

    def do_POST(self) -> None:
        """Take one."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


def main() -> None:
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    with tempfile.TemporaryDirectory() as place, ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        root = Path(place)
        write_revisions(root / "revisions")
        with postgres.attach(root / "server") as server:
            for number in range(ROUNDS):
                for index, (name, tables) in enumerate(KINDS.items()):
                    text = DATABASE + tables.format(url=f"http://127.0.0.1:{receiver.server_address[1]}")
                    (root / "migrator.toml").write_text(text)
                    (root / "migrator.prom").unlink(missing_ok=True)
                    times[name].append(ours(asyncio.run(fresh(server.url, f"run{number}_{index}")), root))
        receiver.shutdown()
    for name, spent in times.items():
        middle, best = (choose(spent) / choose(times["nobody hears"]) for choose in (statistics.median, min))
        print(f"{name:15} {statistics.median(spent):6.2f} s  {middle:5.2f} x  (best {best:5.2f} x)")


if __name__ == "__main__":
    main()
