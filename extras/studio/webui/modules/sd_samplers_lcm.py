"""Where A1111 keeps its LCM sampler."""

from modules.sd_samplers_kdiffusion import CFGDenoiserLCM  # noqa: F401
