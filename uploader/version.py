"""The version: in the package's metadata and in the User-Agent of every request."""

__version__ = "0.1.0"
