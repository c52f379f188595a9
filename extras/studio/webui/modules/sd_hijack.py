"""Where a run's comments are collected. The Studio patches nothing: there is no hijacking."""

from __future__ import annotations


class EmbeddingDatabase:
    """Textual inversion embeddings; the Studio has none."""

    def __init__(self):
        self.word_embeddings: dict = {}
        self.skipped_embeddings: dict = {}

    def find_embedding_at_position(self, tokens, offset):
        return None, None

    def load_textual_inversion_embeddings(self, force_reload=False):
        pass


class StableDiffusionModelHijack:
    def __init__(self):
        self.comments: list[str] = []
        self.extra_generation_params: dict = {}
        self.embedding_db = EmbeddingDatabase()
        self.fixes = None
        self.layers = None
        self.circular_enabled = False
        self.clip = None

    def apply_circular(self, enable):
        pass

    def clear_comments(self):
        self.comments = []
        self.extra_generation_params = {}

    def get_prompt_lengths(self, text):
        """(tokens of the text, tokens it may grow to within its chunks)."""
        if self.clip is None:
            return "-", "-"
        _, count = self.clip.process_texts([text])
        return count, self.clip.get_target_prompt_token_count(count)


model_hijack = StableDiffusionModelHijack()
