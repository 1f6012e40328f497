"""The backend as a web server: routes, authorization, health, gunicorn."""
