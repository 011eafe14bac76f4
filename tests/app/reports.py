"""The same app as `shop`, by the name that deploy/samples/scaled.yaml gives it."""
from shop import app
