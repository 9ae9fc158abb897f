"""MaxViT as an encoder of segmentation_models_pytorch, for its models and training loops.

    register("maxvit", maxvit.create_model("maxvit_tiny", pretrained="in1k-384"))
    network = smp.Unet("maxvit", encoder_weights=None, classes=21)

Importing this module imports that library.
"""

from torch import Tensor, nn

from maxvit.errors import MaxViTError, require
from maxvit.model import MaxViT

require("the encoder", "segmentation_models_pytorch")
from segmentation_models_pytorch.encoders import encoders  # noqa: E402
from segmentation_models_pytorch.encoders._base import EncoderMixin  # noqa: E402


class MaxViTEncoder(nn.Module, EncoderMixin):  # type: ignore[misc]
    """What a model of segmentation_models_pytorch asks of its encoder: the image, then a map a stride.

    Args:
        backbone: It is used, not copied; its classifier is taken off.
        depth: How many maps besides the image, of strides 2, 4, 8, 16 and 32; 1 to 5.
        output_stride: 32; other values are those of stages with dilation, which attention has not.

    Raises:
        MaxViTError: If depth or output_stride is another.
    """

    def __init__(self, backbone: MaxViT, depth: int = 5, output_stride: int = 32) -> None:
        super().__init__()
        if not 1 <= depth <= 5:
            raise MaxViTError(f"encoder_depth is {depth}; MaxViT takes 1 to 5")
        if output_stride != 32:
            raise MaxViTError(
                f"output stride {output_stride} needs stages with dilation, which MaxViT does not have: choose "
                "encoder_output_stride=32 where the model allows it, else Unet, UPerNet, FPN, Linknet, MAnet or PSPNet"
            )
        backbone.head = nn.Identity()  # type: ignore[assignment]
        backbone.set_novelty(None)
        self.backbone, self._depth, self._output_stride = backbone, depth, output_stride
        self._in_channels = backbone.config.in_channels
        self._out_channels = [self._in_channels, *backbone.pyramid_channels.values()]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The images, then maps of strides 2, 4, ...: `depth` of them, with the channels of `out_channels`."""
        strides = list(self.backbone.pyramid_channels)[: self._depth]
        return [images, *self.backbone.forward_pyramid(images, strides)]

    def set_in_channels(self, in_channels: int, pretrained: bool = True) -> None:
        """Take images of another number of channels; weights are adapted as `MaxViT.set_in_channels` says."""
        if in_channels != self._in_channels:
            self.backbone.set_in_channels(in_channels)
            self._in_channels = self._out_channels[0] = in_channels


def register(name: str, backbone: MaxViT) -> None:
    """Give segmentation_models_pytorch a backbone under a name; each of its models gets a copy, weights and all.

    Args:
        name: For `encoder_name`; `encoder_weights` must be None, since the backbone has its own.
        backbone: Any network of this package.

    Raises:
        MaxViTError: If the name is one of the library's own.
    """
    if name in encoders and encoders[name]["encoder"] is not MaxViTEncoder:
        raise MaxViTError(f"encoder {name!r} is one of segmentation_models_pytorch's own: choose another name")
    encoders[name] = {"encoder": MaxViTEncoder, "params": {"backbone": backbone}, "pretrained_settings": {}}
