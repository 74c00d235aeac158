"""How crops vary: every share and strength of the augmentation, in one place."""

from pydantic import Field, model_validator

from configs import Options

__all__ = ["Augment"]


class Augment(Options):
    """How strongly crops vary. Shares are probabilities; what only video or people need is off unless asked for."""

    crop_px: int = Field(288, gt=0, multiple_of=32)
    """Width of a crop, and its height too unless `crop_height_px` is given."""
    crop_height_px: int | None = Field(None, gt=0, multiple_of=32)
    """Height, where crops are not square."""

    # geometry
    scale_min: float = Field(0.45, gt=0)
    """Of the source's pixels; drawn log-uniformly up to `scale_max`."""
    scale_max: float = Field(2.0, gt=0)
    """See `scale_min`; the papers' range is 0.5 to 2."""
    flip_share: float = Field(0.5, ge=0, le=1)
    """Mirrored left to right."""
    rotate_deg: float = Field(8.0, ge=0)
    """Largest turn, either way."""
    aspect: float = Field(0.12, ge=0)
    """Width against height changes by up to exp(aspect)."""
    stretch: float | None = Field(None, gt=0)
    """Width against height, always. By default as the engine does it to frames: 1, and with `resize: stretch` what
    brings 16:9 to the first size of `export`, else of `validation` (a square: 0.5625)."""
    bars_share: float = Field(0.12, ge=0, le=1)
    """Crops of which a side becomes a black bar, as a letterboxed frame's."""

    # colour
    colour: float = Field(0.35, ge=0, lt=1)
    """Strength of the changes of brightness, contrast, white balance, saturation."""
    grey_share: float = Field(0.04, ge=0, le=1)
    """Without any colour, as infrared and old cameras give."""

    # what cameras and codecs do
    blur_share: float = Field(0.2, ge=0, le=1)
    """Out of focus."""
    motion_blur_share: float = Field(0.0, ge=0, le=1)
    """Blurred along a line, as by a hand that waves or a camera that turns."""
    motion_blur_px: float = Field(14.0, ge=1)
    """Longest way moved while the shutter is open."""
    noise_share: float = Field(0.2, ge=0, le=1)
    """Sensor noise that grows with the signal."""
    noise: float = Field(14.0, ge=0)
    """Largest standard deviation at middle grey, of 255."""
    low_light_share: float = Field(0.0, ge=0, le=1)
    """A dark room, in part lifted by the camera's gain, with its noise."""
    jpeg_share: float = Field(0.3, ge=0, le=1)
    """Through JPEG, as MJPEG webcams do."""
    jpeg_quality_min: int = Field(25, ge=1, le=95)
    """Worst quality; the best is 95."""
    h264_share: float = Field(0.0, ge=0, le=1)
    """The crop as the second frame of a moving H.264 stream."""
    crf_min: int = Field(22, ge=0, le=51)
    """Best quality of H.264 (constant rate factor)."""
    crf_max: int = Field(40, ge=0, le=51)
    """Worst quality of H.264."""

    # people
    closeup_share: float = Field(0.3, ge=0, le=1)
    """Crops of head and shoulders, as a webcam sees them."""
    closeup_scale_max: float = Field(3.0, gt=0)
    """A closeup enlarges the picture by at most so much."""
    paste_share: float = Field(0.0, ge=0, le=1)
    """Crops whose subject is put before a picture of a backdrop source (`is_backdrop`), or a subject-free window."""
    paste_feather_px: float = Field(0.8, ge=0)
    """Softness of the pasted edge (standard deviation)."""
    paste_match: float = Field(0.5, ge=0, le=1)
    """How far the subject's colours may go towards the backdrop's."""
    without_subject_share: float = Field(0.0, ge=0, le=1)
    """Crops cut from a window of the picture that holds no subject."""
    things_share: float = Field(0.0, ge=0, le=1)
    """Crops with made-up objects behind the subject, labelled class 0: not all that stands out is a subject."""

    @model_validator(mode="after")
    def _ordered(self) -> "Augment":
        for low, high in (("scale_min", "scale_max"), ("crf_min", "crf_max")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} {getattr(self, low)} is above {high} {getattr(self, high)}")
        return self

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of a crop."""
        return self.crop_height_px or self.crop_px, self.crop_px
