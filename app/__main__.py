"""`python -m app`: runs the service, configured by environment variables (`python -m app --help` lists them)."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import fields

from app.logs import LOG, configure
from app.service import make_app, serve
from app.settings import Settings, SettingsError


def main() -> int:
    """Runs the service. Returns the exit code: 0 after SIGTERM, 1 if it cannot start, 2 for an invalid setting."""
    if len(sys.argv) > 1:
        print("usage: python -m app, with these environment variables:")
        for item in fields(Settings):
            print(f"  {item.name.upper():24} {item.metadata['help']} (default {item.default!r})")
        return 0 if sys.argv[1:] == ["--help"] else 2
    try:
        settings = Settings.from_environment(os.environ)
    except SettingsError as error:
        print(f"app: {error}", file=sys.stderr)
        return 2
    configure(settings.container_id, settings.log_level)
    try:
        import uvloop  # noqa: PLC0415 -- optional: the service also runs without it, slower
    except ImportError:
        loop = asyncio.new_event_loop()
    else:
        loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(serve(make_app(settings)))
    except (RuntimeError, OSError) as error:
        LOG.error("cannot start", extra={"facts": {"reason": str(error)}})
        return 1
    finally:
        loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
