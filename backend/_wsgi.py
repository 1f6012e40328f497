"""For gunicorn: `gunicorn backend._wsgi:app`. The app is built at the first use of its name, not at import."""

from typing import Any

from preference.settings import Settings


def __getattr__(name: str) -> Any:
    if name != "app":
        raise AttributeError(name)
    from preference.heavy_imports import lean_imports

    with lean_imports():
        from backend.serving.process import process_backend
        from backend.web.app import create_app
        from preference.logs import set_up_logging
        from preference.models.pretrained import quiet_transformers

    set_up_logging(Settings.from_environ())
    quiet_transformers()
    return create_app(process_backend())
