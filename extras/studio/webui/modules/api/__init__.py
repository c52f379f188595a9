"""HTTP models that extensions import."""
