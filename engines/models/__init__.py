"""Networks: backbones, ASPP, and the DeepLab family, in plain PyTorch.

Everything here imports torch; nothing of the stream may import this package.
"""
