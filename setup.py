"""Build script; everything else is in ``setup.cfg`` (and ``pyproject.toml`` for the build and the tools)."""

from setuptools import setup

if __name__ == "__main__":
    setup()
