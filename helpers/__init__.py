"""Modules that the notebooks import: one idea a module, see the map of rooms in README."""
