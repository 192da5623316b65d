"""TFLite files for LiteRT: CPU through XNNPACK, phones' GPU and NPU delegates."""

from edgesr.targets.target import INT8_FORMS, Forms, Target

TARGET = Target(
    name="tflite",
    suffix=".tflite",
    layout="NHWC",
    dynamic=False,
    float_forms=Forms(anchor="conv", clip="minmax", shuffle="depth_to_space", prelu="prelu"),
    int8_forms=INT8_FORMS,
)
