"""gunicorn's door: `gunicorn backend._wsgi:app`. The app is built when it is first asked for, not at import."""

from typing import Any

from preference.settings import Settings


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from backend.app import create_app
    from backend.wiring import process_backend
    from preference.backbone import quiet_transformers
    from preference.logs import set_up_logging

    set_up_logging(Settings.from_environ())
    quiet_transformers()
    return create_app(process_backend())
