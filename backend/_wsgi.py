"""gunicorn's door: `gunicorn backend._wsgi:app`. The app is built when it is first asked for, not at import."""

import logging
from typing import Any

from preference.settings import Settings


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from backend.app import create_app
    from backend.wiring import process_backend
    from preference.backbone import quiet_transformers

    logging.basicConfig(level=Settings.from_environ().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    quiet_transformers()
    for name in ("httpx", "httpx2"):  # a line for each request; its URL may hold a password
        logging.getLogger(name).setLevel(logging.WARNING)
    return create_app(process_backend())
