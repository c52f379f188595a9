"""Where A1111 keeps its LCM sampler."""
from modules.sd_samplers_kdiffusion import CFGDenoiserLCM, KDiffusionSampler as LCMSampler  # noqa: F401
