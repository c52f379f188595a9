"""The one place of the version."""

VERSION = "0.5.0"
