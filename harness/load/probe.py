"""Asks many URLs at once, from where the hosts of the rig can be reached: `python -m harness.load.probe`.

Standard input: one JSON list of URLs. Standard output: one JSON object, URL -> [status, body]; status 0
and the reason where there was no answer. Used between trials, never inside a measured window.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

TIMEOUT_S = 5.0


def ask(url: str) -> tuple[int, str]:
    """(status, body) of a GET; status 0 with the reason where nobody answered."""
    if not url.startswith(("http://", "https://")):
        return 0, "only http and https"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=TIMEOUT_S) as answer:
            return int(answer.status), answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except (OSError, ValueError) as error:
        return 0, str(error)


def main() -> None:
    """Reads the URLs, prints the answers."""
    urls = json.loads(sys.stdin.readline())
    if urls:
        with ThreadPoolExecutor(min(32, len(urls))) as pool:
            print(json.dumps(dict(zip(urls, pool.map(ask, urls), strict=True))))
    else:
        print("{}")


if __name__ == "__main__":
    main()
