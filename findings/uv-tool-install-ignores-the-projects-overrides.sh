#!/usr/bin/env bash
# uv 0.13.9: the overrides in a project's own pyproject.toml hold for `uv pip install .`, and not for `uv tool install .`.
#
# Guess, written down before the run: `[tool.uv] override-dependencies` belongs to the project, so every way in which uv installs that
# project from its folder reads it.
# What happens: `uv pip install FOLDER`, run in the folder, resolves with the override. `uv tool install FOLDER`, run in the same folder,
# does not read that table, and finds "no solution". `--overrides FILE` works for both.
# Who is hurt: a program that needs an override (a dependency with a dead pin) and tells its users `uv tool install .`: its developers,
# who use `uv pip` or `uv sync`, never see the failure. Keep the overrides in a file, and give that file to both commands.
#
# Seen on 2026-11-29, Python 3.11 (httpx 0.23.0 wants httpcore<0.16, and the project overrides that with httpcore>=1):
#   uv pip install               installs httpcore 1.x
#   uv tool install              no solution
#   uv tool install --overrides  installs
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet uv==0.13.9
uv="$folder/venv/bin/uv"
export UV_TOOL_DIR="$folder/tools" UV_TOOL_BIN_DIR="$folder/bin" UV_CACHE_DIR="$folder/cache"
mkdir -p "$folder/project/hello" && cd "$folder/project"
echo 'def main(): print("hello")' > hello/__init__.py
cat > pyproject.toml <<'TOML'
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "hello"
version = "0.1"
dependencies = ["httpx==0.23.0", "httpcore>=1"]
[project.scripts]
hello = "hello:main"
[tool.uv]
override-dependencies = ["httpcore>=1"]
TOML
"$uv" venv --quiet "$folder/env" --python "$folder/venv/bin/python"
"$uv" pip install --quiet --python "$folder/env" .
echo "uv pip install               installs httpcore $("$uv" pip show --quiet --python "$folder/env" httpcore >/dev/null 2>&1 && "$folder/env/bin/python" -c 'import importlib.metadata as m; print(m.version("httpcore"))')"
if "$uv" tool install --quiet --python "$folder/venv/bin/python" . 2> "$folder/said"; then
  echo "uv tool install reads the project's overrides now: it changed"; exit 1
fi
grep -q "httpcore" "$folder/said" || { cat "$folder/said"; echo "it failed for another reason"; exit 1; }
echo "uv tool install              no solution"
echo "httpcore>=1" > overrides.txt
"$uv" tool install --quiet --python "$folder/venv/bin/python" --overrides overrides.txt .
echo "uv tool install --overrides  installs; it runs: $("$folder/bin/hello")"
