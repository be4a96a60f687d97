"""Networks: every one is called as net(x, t, cond) and is built from the small blocks beside it."""

from course_lib.nets.blocks import ChannelNorm, Downsample, ResidualBlock, SelfAttention, Upsample
from course_lib.nets.classifier import Classifier, ConvClassifier
from course_lib.nets.embeddings import ConditionEmbedding, sinusoidal_embedding
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet

__all__ = [
    "MLP",
    "ChannelNorm",
    "Classifier",
    "ConditionEmbedding",
    "ConvClassifier",
    "Downsample",
    "ResidualBlock",
    "SelfAttention",
    "UNet",
    "Upsample",
    "sinusoidal_embedding",
]
