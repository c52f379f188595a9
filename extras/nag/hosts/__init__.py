"""One room per kind of host. Each knows its host's ways and drives a Run; nothing else does."""
