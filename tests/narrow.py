"""A network for the native kernels that is small, and odd in every size: windows, grids, images, depths."""

from maxvit import MaxViTConfig

SMALL = MaxViTConfig(
    stem_channels=16,
    channels=(32, 32, 64, 64),
    depths=(1, 2, 1, 1),
    window_size=(3, 4),
    grid_size=(4, 2),
    head_dim=16,
    num_classes=7,
    image_size=(96, 128),
)
