"""Lets vine 1.3 and Celery 4.4 import on Python 3.11, which dropped two names of `inspect`."""
import inspect

if not hasattr(inspect, "getargspec"):

    def _getargspec(function):
        spec = inspect.getfullargspec(function)
        return inspect.ArgSpec(*spec[:4]) if hasattr(inspect, "ArgSpec") else spec

    inspect.getargspec = _getargspec

if not hasattr(inspect, "formatargspec"):
    # Celery 4.4 imports it and uses it only for its Sphinx extension.
    inspect.formatargspec = lambda *args, **kwargs: "(*args, **kwargs)"
