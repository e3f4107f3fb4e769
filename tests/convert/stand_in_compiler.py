"""Stands in for edgetpu_compiler 16.0: its arguments, its published output, and the failures people have reported.

The first line of ``behaviour.txt`` beside the script says what to do; each run takes one line off. The "compiled" file
it writes is the input's inside replaced by one edgetpu-custom-op, as the real one's is (without a program in it).
"""

import sys
import time
from pathlib import Path

import flatbuffers  # type: ignore[import-untyped]
from ai_edge_litert import schema_py_generated as schema

REPORT = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 557 ms.

Input model: {source}
Input size: 952.06KiB
Output model: {made}
Output size: 1.04MiB
On-chip memory used for caching model parameters: 1.01MiB
On-chip memory remaining for caching model parameters: 6.72MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 4
Operation log: {log}
{partly}
Operator                       Count      Status

FULLY_CONNECTED                1          Mapped to Edge TPU
CONV_2D                        2          Mapped to Edge TPU
MEAN                           1          {mean}
Compilation child process completed within timeout period.
Compilation succeeded!
"""
PARTLY = """
Model successfully compiled but not all operations are supported by the Edge TPU. A percentage of the model will \
instead run on the CPU, which is slower. If possible, consider updating your model to use only operations supported \
by the Edge TPU. For details, visit g.co/coral/model-reqs.
Number of operations that will run on Edge TPU: 3
Number of operations that will run on CPU: 1
"""


def compiled(content: bytes, custom: bytes = b"edgetpu-custom-op", wrong_outside: bool = False) -> bytes:
    """A model whose only operator is the custom one, with the same input and output tensors."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    code = schema.OperatorCodeT()
    code.builtinCode = schema.BuiltinOperator.CUSTOM
    code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = custom, 1
    op = schema.OperatorT()
    op.opcodeIndex, op.inputs, op.outputs = 0, list(graph.inputs), list(graph.outputs)
    if wrong_outside:
        graph.tensors[int(graph.inputs[0])].quantization.zeroPoint = [0]
    model.operatorCodes, graph.operators = [code], [op]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def main() -> int:
    plan = Path(__file__).with_name("behaviour.txt")
    first, *rest = plan.read_text().splitlines()
    plan.write_text("\n".join(rest or [first]))
    assert sys.argv[1:3] == ["-s", "-o"], sys.argv
    folder, source = Path(sys.argv[3]), Path(sys.argv[4])
    made = folder / f"{source.stem}_edgetpu.tflite"
    if first == "hang":
        time.sleep(600)
    if first == "abort":
        print("Edge TPU Compiler version 16.0.384591198\n\nInternal compiler error. Aborting! ")
        return 1
    if first == "not quantized":
        print(f"Edge TPU Compiler version 16.0.384591198\nInvalid model: {source}\nModel not quantized")
        return 1
    if first == "dynamic":
        print(
            "ERROR: Attempting to use a delegate that only supports static-sized tensors with a graph that has "
            "dynamic-sized tensors.\nCompilation child process completed within timeout period.\nCompilation failed! "
        )
        return 1
    content = source.read_bytes()
    if first == "nothing mapped":
        made.write_bytes(content)
    elif first == "wrong outside":
        made.write_bytes(compiled(content, wrong_outside=True))
    elif first != "no file":
        made.write_bytes(compiled(content))
    partly = first == "partly"
    report = REPORT.format(
        source=source, made=made, log=made.with_suffix(".log"), partly=PARTLY if partly else "",
        mean="Operation is otherwise supported, but not mapped due to some unspecified limitation" if partly
        else "Mapped to Edge TPU",
    )  # fmt: skip
    print("Edge TPU Compiler version 17" if first == "another report" else report)
    if first == "another report":
        print("Model compiled successfully in 1 ms.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
