"""Networks: every one is called as net(x, t, cond) and is built from the small blocks beside it."""

from course_lib.nets.blocks import Downsample, ResidualBlock, SelfAttention, Upsample
from course_lib.nets.classifier import Classifier, ConvClassifier
from course_lib.nets.embeddings import (
    ConditionEmbedding,
    LabelEmbedding,
    LearnedTimeEmbedding,
    TimeEmbedding,
    position_embedding,
    sinusoidal_embedding,
)
from course_lib.nets.hybrid import Hybrid
from course_lib.nets.mlp import MLP
from course_lib.nets.norms import NORMS, ChannelNorm, RMSNorm
from course_lib.nets.transformers import DiT, TokenAttention, TransformerBlock
from course_lib.nets.unet import BasicUNet, UNet

__all__ = [
    "MLP",
    "NORMS",
    "BasicUNet",
    "ChannelNorm",
    "Classifier",
    "ConditionEmbedding",
    "ConvClassifier",
    "DiT",
    "Downsample",
    "Hybrid",
    "LabelEmbedding",
    "LearnedTimeEmbedding",
    "RMSNorm",
    "ResidualBlock",
    "SelfAttention",
    "TimeEmbedding",
    "TokenAttention",
    "TransformerBlock",
    "UNet",
    "Upsample",
    "position_embedding",
    "sinusoidal_embedding",
]
