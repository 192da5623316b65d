"""TFLite files for LiteRT: CPU through XNNPACK, phones' GPU and NPU delegates.

Forms by `benchmarks/results/forms.json` (32 channels, 360x640 to 1080p, one thread, median ms):

    anchor   int8: conv 64.2, concat 65.7, resize 69.6;  fp32: conv 256, concat 257, resize 285
    clip     fp32: minmax 253, relu_0_to_1 265, which XNNPACK leaves to another kernel and GPU
             delegates refuse; int8 needs none, it saturates
    prelu    fp32: prelu 255, two_relus 323

XNNPACK concatenates at most five tensors, so a nine-fold concat is written as two operators; RESIZE
of the nearest pixel splits the graph. NPUs run the one-hot convolution fastest as well: on Ethos-U
a concat costs 12 to 58 % of the whole network.
"""

from edgesr.targets.target import INT8_FORMS, Forms, Target

TARGETS = (
    Target(
        name="tflite",
        format="tflite",
        suffix=".tflite",
        layout="NHWC",
        dynamic=False,
        float_forms=Forms(anchor="conv", clip="minmax", shuffle="depth_to_space", prelu="prelu"),
        int8_forms=INT8_FORMS,
    ),
)
