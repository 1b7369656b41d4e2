"""This repository as the plugin's first user."""

from __future__ import annotations

pytest_plugins = ["pytester"]
