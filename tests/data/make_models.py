#!/usr/bin/env python3
"""Makes the tiny models in this folder. They find "faces" at known places and tell colours apart, so that
tests know what must come out without a trained network.

Needs the package onnx (made with 1.23). Running it again gives the same bytes:

    python3 tests/data/make_models.py

Detectors have YuNet's signature: input [b,3,H,W] (B, G, R planes, 0..255) and, per stride s of 8, 16, 32 with
N = (H/s)(W/s) cells, cls_s and obj_s [b,N,1], bbox_s [b,N,4] (dx, dy, log w, log h) and kps_s [b,N,10].

two_faces      a face of 32x32 px at (8,8), score .9, and one of 16x16 px at (32,32), score .7, whatever the picture
               (in pixels of the tensor, if that has the room); the points lie as on an upright face
not_finite     two_faces, but the second face's width is not a number
wrong_length   two_faces, but kps_32 has one cell too many
fails          two_faces, but every run fails
colours        every cell of 32x32 px is a face, score .9; points 0, 1 and 2 have the mean blue, green and red of
               the cell (0..1) as x, in cells from the cell's left edge

Embedders take [n,3,112,112] (R, G, B planes, 0..1 by their description) and embed colours:

embedder         mean R, G, B of the four quarters, 12 dimensions; black has no direction
embedder_coarse  mean R, G, B, 3 dimensions: another embedding space
embedder_fails   embedder, but a run on a nearly white picture fails
"""

import pathlib

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper, save

FOLDER = pathlib.Path(__file__).parent
OPSET = 17
STRIDES = (8, 16, 32)
# Points of an upright face: eyes, nose, mouth corners, as fractions of the box.
POINTS = [(0.34, 0.46), (0.66, 0.46), (0.5, 0.64), (0.37, 0.82), (0.63, 0.82)]


class Graph:
    """Nodes and constants of a network under construction."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def constant(self, name, values, kind=np.float32):
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=kind), name))
        return name

    def op(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def save(self, name, inputs, outputs):
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        model.producer_name = "make_models.py"
        checker.check_model(model, full_check=True)
        save(model, FOLDER / f"{name}.onnx")


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def cell_values(centre, size):
    """The numbers of a cell whose face has its centre there and that size, all in cells."""
    points = [(centre[i] + (p[i] - 0.5) * size) for p in POINTS for i in (0, 1)]
    return [*centre, np.log(size), np.log(size)], points


# Per stride: column, row, score and the numbers of the cell.
FIRST = (32, 0, 0, 0.9, *cell_values((0.75, 0.75), 1.0))
SECOND = (16, 2, 2, 0.7, *cell_values((0.5, 0.5), 1.0))


def places(graph, stride, faces):
    """Outputs of a stride: constants, put into their cells."""
    s = str(stride)
    pooled = graph.op("AveragePool", ["input"], f"pool_{s}", kernel_shape=[stride, stride], strides=[stride, stride])
    one = graph.op("ReduceMean", [pooled], f"plane_{s}", axes=[1], keepdims=1)
    ones = graph.op("Add", [graph.op("Mul", [one, "zero"], f"zeros_{s}"), "one"], f"ones_{s}")
    column = graph.op("CumSum", [ones, "axis_x"], f"column_{s}")
    row = graph.op("CumSum", [ones, "axis_y"], f"row_{s}")
    totals = {}
    for i, (_, x, y, score, box, points) in enumerate(faces):
        at_x = graph.op("Equal", [column, graph.constant(f"x_{s}_{i}", x + 1)], f"at_x_{s}_{i}")
        at_y = graph.op("Equal", [row, graph.constant(f"y_{s}_{i}", y + 1)], f"at_y_{s}_{i}")
        here = graph.op("And", [at_x, at_y], f"here_{s}_{i}")
        for kind, values in (("cls", [score]), ("obj", [score]), ("bbox", box), ("kps", points)):
            shaped = np.array(values).reshape(1, len(values), 1, 1)
            name = f"{kind}_{s}_{i}"
            chosen = graph.op("Where", [here, graph.constant(f"v_{name}", shaped), "zero"], f"w_{name}")
            totals[kind] = graph.op("Add", [totals[kind], chosen], f"t_{name}") if kind in totals else chosen
    for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        if kind not in totals:
            wide = graph.constant(f"wide_{kind}_{s}", np.zeros((1, width, 1, 1)))
            totals[kind] = graph.op("Mul", [ones, wide], f"t_{kind}_{s}")
    return totals


def flatten(graph, value, output, width):
    """[b,width,h,w] to [b,h*w,width]."""
    moved = graph.op("Transpose", [value], f"moved_{output}", perm=[0, 2, 3, 1])
    shape = graph.constant(f"shape_{output}", [0, -1, width], np.int64)
    return graph.op("Reshape", [moved, shape], output)


def detector(name, faces, change=None):
    graph = Graph()
    graph.constant("zero", 0.0)
    graph.constant("one", 1.0)
    graph.constant("axis_y", 2, np.int64)
    graph.constant("axis_x", 3, np.int64)
    outputs = []
    for stride in STRIDES:
        totals = places(graph, stride, [f for f in faces if f[0] == stride])
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            value, output = totals[kind], f"{kind}_{stride}"
            if change == "length" and output == "kps_32":
                flat = flatten(graph, value, "kps_32_right", width)
                more = graph.constant("one_more", np.zeros((1, 1, 10)))
                graph.op("Concat", [flat, more], output, axis=1)
            elif change == "fail" and output == "cls_8":
                # No picture has 7 values, but only a run can tell.
                seven = graph.op("Reshape", [value, graph.constant("seven", [7], np.int64)], "never")
                total = graph.op("ReduceSum", [seven], "never_sum", keepdims=0)
                flatten(graph, graph.op("Add", [value, total], "never_added"), output, width)
            else:
                flatten(graph, value, output, width)
            outputs.append(floats(output, ["b", f"n_{output}", width]))
    graph.save(name, [floats("input", ["b", 3, "h", "w"])], outputs)


def colours():
    graph = Graph()
    graph.constant("zero", 0.0)
    graph.constant("scale", 1.0 / 255.0)
    outputs = []
    for stride in STRIDES:
        s = str(stride)
        pooled = graph.op("AveragePool", ["input"], f"pool_{s}", kernel_shape=[stride, stride], strides=[stride, stride])
        mean = graph.op("Mul", [pooled, "scale"], f"mean_{s}")
        zeros = graph.op("Mul", [graph.op("ReduceMean", [mean], f"plane_{s}", axes=[1]), "zero"], f"zeros_{s}")
        score = graph.op("Add", [zeros, graph.constant(f"score_{s}", 0.9 if stride == 32 else 0.0)], f"score_of_{s}")
        wide = np.array([0.5, 0.5, 0.0, 0.0]).reshape(1, 4, 1, 1)
        box = graph.op("Add", [zeros, graph.constant(f"wide_{s}", wide)], f"box_{s}")
        # Channel c becomes x of point c: a 1x1 convolution spreads three channels over ten.
        spread = np.zeros((10, 3, 1, 1))
        for channel in range(3):
            spread[2 * channel, channel] = 1.0
        points = graph.op("Conv", [mean, graph.constant(f"spread_{s}", spread)], f"points_{s}")
        for kind, value, width in (("cls", score, 1), ("obj", score, 1), ("bbox", box, 4), ("kps", points, 10)):
            flatten(graph, value, f"{kind}_{stride}", width)
            outputs.append(floats(f"{kind}_{stride}", ["b", f"n_{kind}_{stride}", width]))
    graph.save("colours", [floats("input", ["b", 3, "h", "w"])], outputs)


def boxes_only():
    graph = Graph()
    anchors = 4420
    plane = graph.op("ReduceMean", ["input"], "mean", keepdims=0)
    nothing = graph.op("Mul", [plane, graph.constant("zero", 0.0)], "nothing")
    # The faces are the first anchors; the others are zero.
    for output, values in (("scores", [[0.1, 0.9], [0.2, 0.8]]),
                           ("boxes", [[0.25, 0.25, 0.5, 0.75], [0.625, 0.25, 0.8125, 0.625]])):
        first = graph.op("Add", [graph.constant(f"first_{output}", [values]), nothing], f"some_{output}")
        pads = graph.constant(f"pads_{output}", [0, 0, 0, 0, anchors - len(values), 0], np.int64)
        graph.op("Pad", [first, pads], output)
    graph.save("boxes_only", [floats("input", [1, 3, 240, 320])],
               [floats("scores", [1, anchors, 2]), floats("boxes", [1, anchors, 4])])


def embedder(name, quarters, fails=False):
    graph = Graph()
    side, count = (56, 12) if quarters else (112, 3)
    picture = "input"
    if fails:
        # An index outside the table is an error of the run.
        mean = graph.op("ReduceMean", ["input"], "mean", keepdims=0)
        white = graph.op("Less", [graph.constant("limit", 0.9), mean], "white")
        index = graph.op("Mul", [graph.op("Cast", [white], "number", to=TensorProto.INT64),
                                 graph.constant("far", 100, np.int64)], "index")
        zero = graph.op("Gather", [graph.constant("table", [0.0]), index], "entry", axis=0)
        picture = graph.op("Add", ["input", zero], "picture")
    pooled = graph.op("AveragePool", [picture], "pool", kernel_shape=[side, side], strides=[side, side])
    graph.op("Flatten", [pooled], "embedding", axis=1)
    graph.save(name, [floats("input", ["n", 3, 112, 112])], [floats("embedding", ["n", count])])
    (FOLDER / f"{name}.toml").write_text(
        f"""# Made by make_models.py.
task = "embedder"
decoder = "embedding"
channels = "rgb"
mean = [0.0, 0.0, 0.0]
std = [255.0, 255.0, 255.0]
template = "arcface-112"
dim = {count}
threshold = 0.9
licence = "MIT OR Apache-2.0"
commercial = true
training-data = "none"
""",
        encoding="utf-8",
    )


def main():
    broken = (*SECOND[:4], [SECOND[4][0], SECOND[4][1], np.nan, SECOND[4][3]], SECOND[5])
    detector("two_faces", [FIRST, SECOND])
    detector("not_finite", [FIRST, broken])
    detector("wrong_length", [FIRST, SECOND], "length")
    detector("fails", [FIRST, SECOND], "fail")
    colours()
    boxes_only()
    embedder("embedder", quarters=True)
    embedder("embedder_coarse", quarters=False)
    embedder("embedder_fails", quarters=True, fails=True)


if __name__ == "__main__":
    main()
