"""Hours of a busy Studio in some minutes: many clients, good requests, bad ones and failing ones, every answer compared
with what the same request gave alone, and an account of what is left in the server."""
