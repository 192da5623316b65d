"""Serve a TFLite file with float ends in LiteRT. No edgesr.

python run_litert.py FILE.tflite INPUT.npy OUTPUT.npy
"""

# mypy: ignore-errors
# (answers as the peers' scripts do)

import json
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def main(file: str, source: str, output: str) -> None:
    interpreter = Interpreter(file, num_threads=1)
    interpreter.allocate_tensors()
    x = np.ascontiguousarray(np.load(source).transpose(0, 2, 3, 1))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    first = True
    for _ in sys.stdin:
        start = time.process_time()
        interpreter.invoke()
        spent = 1e3 * (time.process_time() - start)
        if first:
            y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            np.save(output, y.transpose(0, 3, 1, 2))
            first = False
        print(json.dumps({"ms": spent}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
