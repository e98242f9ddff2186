"""`hearme serve`: the guard, sessions and an OpenAI-compatible HTTP API in front of local or remote models."""
