"""Schemathesis over the daemon's own description: nothing that anybody sends may end in a 500.

    python tests/bench/fuzz.py [--examples N] [--seconds N]

Needs `schemathesis` in the environment that runs it. The daemon runs in a process of its own, with a machine and some events.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.process import daemon_process  # noqa: E402

PASSWORD = b'{"password": "bty-lab"}'
# The streams never end, and a logout would end our own session; a release would be asked for elsewhere.
LEFT_OUT = ("/boot/releases", "/events/stream", "/events/machines", "/events/workers", "/auth/logout", "/ui/logout")


def log_in(url: str) -> str:
    """Return the cookie of a new session."""
    request = urllib.request.Request(f"{url}/auth/login", data=PASSWORD, method="POST", headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.headers["Set-Cookie"]).partition(";")[0]


def description(url: str) -> str:
    """Return the daemon's description for the fuzzer: without the pages, and without logins, since it would make up its own."""
    with urllib.request.urlopen(f"{url}/openapi.json", timeout=10) as answer:
        document = json.load(answer)
    for path, methods in list(document["paths"].items()):
        for method, operation in list(methods.items()):
            operation.pop("security", None)
            if operation["x-guard"] == "page" or path.startswith("/ui/assets"):
                del methods[method]
        if path in LEFT_OUT or not methods:
            del document["paths"][path]
    del document["components"]["securitySchemes"]
    return json.dumps(document).replace("application/toml", "text/plain")


def main() -> int:
    """Run it and return 1 where a 500 was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=25, help="cases for each operation")
    parser.add_argument("--seconds", type=int, default=180, help="when to give up")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bty-fuzz-") as folder, daemon_process(Path(folder) / "state") as daemon:
        urllib.request.urlopen(f"{daemon.url}/pxe/52-54-00-00-00-01", timeout=10).close()
        command = [
            str(Path(sys.executable).parent / "schemathesis"), "run", "openapi.json", "--url", daemon.url,
            "--header", f"Cookie: {log_in(daemon.url)}",
            "--checks", "not_a_server_error,response_schema_conformance",
            "--max-examples", str(arguments.examples),
            "--suppress-health-check", "filter_too_much",  # a login's form matches few of the texts that are made up
            "--seed", "1",
            "--no-color",
        ]  # fmt: skip
        (Path(folder) / "openapi.json").write_text(description(daemon.url))
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=arguments.seconds, check=False)
        log = (Path(folder) / "state.log").read_text()
    print(done.stdout[-6000:], done.stderr[-2000:])
    failures = re.findall(r"request\.(?:failed|broken).*", log)
    print(f"{len(failures)} internal errors in the daemon's log", *failures[:10], sep="\n")
    return 1 if failures or done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
