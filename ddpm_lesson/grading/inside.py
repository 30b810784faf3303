"""The half of the jail that is inside: it runs cells in one namespace, then answers requests with plain values.

A student's code shares this process, so nothing here is trusted: what goes out can only be a value, and it is judged
outside. The outside uses pack and unpack too. A frame is a nonce (16 bytes), a length (8 bytes) and a packed value.
"""

import json
import linecache
import math
import os
import sys
import traceback
import types

import numpy as np

DTYPES = ["|b1", "|i1", "|u1", *(f"<{kind}{size}" for kind in "iuf" for size in (2, 4, 8))]  # there is no f1
DEPTH, HEADER = 20, 4 << 20  # how deep lists may lie in lists; bytes of all that is not in arrays


def pack(value):
    """Bytes: 4 for the JSON's length, the JSON, then what the arrays hold, in their order."""
    blobs = []

    def tree(x):
        if isinstance(x, np.ndarray):
            blobs.append(x.tobytes())
            return {"array": [x.dtype.str, list(x.shape)]}
        if isinstance(x, dict):
            return {"dict": {k: tree(v) for k, v in x.items()}}
        return [tree(v) for v in x] if isinstance(x, list) else x

    header = json.dumps(tree(value)).encode()
    return b"".join([len(header).to_bytes(4, "big"), header, *blobs])


def unpack(body):
    """The value, made of None, bool, int, float, str, list, dict and array alone. ValueError for any other bytes."""
    end = 4 + int.from_bytes(body[:4], "big")
    if end > min(len(body), HEADER):
        raise ValueError("cut off, or too many numbers outside of arrays")

    def integer(digits):
        if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
            raise ValueError("an integer of more than 64 bits")
        return int(digits)

    def grow(x, depth=0):
        nonlocal end
        if depth > DEPTH:
            raise ValueError(f"nested deeper than {DEPTH}")
        if x is None or isinstance(x, (bool, int, float)):
            return x
        if isinstance(x, str):
            return x.encode("utf-8", "replace").decode()  # no lone surrogates: no file takes them
        if isinstance(x, list):
            return [grow(v, depth + 1) for v in x]
        (kind, x), = x.items()
        if kind == "dict":
            return {grow(k): grow(v, depth + 1) for k, v in x.items()}
        dtype, shape = x
        if kind != "array" or dtype not in DTYPES or len(shape) > 16:
            raise ValueError("neither a dict nor an array")
        if not all(type(n) is int and 0 <= n < 2**31 for n in shape):
            raise ValueError("no shape")
        start, end = end, end + math.prod(shape) * np.dtype(dtype).itemsize
        if end > len(body):
            raise ValueError("an array is cut off")
        return np.frombuffer(body[start:end], dtype, math.prod(shape)).reshape(shape).copy()

    try:
        value = grow(json.loads(body[4:end], parse_int=integer))
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError("not a packed value") from error
    if end != len(body):
        raise ValueError("more bytes than arrays")
    return value


def plain(x, depth=0):
    """What a student's code returned, as numbers, str, list, dict and numpy arrays."""
    torch = sys.modules.get("torch")
    if depth > DEPTH:
        raise ValueError(f"nested deeper than {DEPTH}")
    if torch is not None and isinstance(x, torch.Tensor):
        x = (x.float() if x.dtype == torch.bfloat16 else x).detach().to_dense().numpy(force=True)
    x = x.item() if isinstance(x, np.generic) else x
    if isinstance(x, np.ndarray) and x.dtype.kind in "biuf":
        dtype = np.dtype(float) if x.dtype.itemsize > 8 else x.dtype  # long double
        return np.array(x, dtype.newbyteorder("<"), order="C", subok=False)
    x = x.tolist() if isinstance(x, np.ndarray) and x.dtype.kind in "OUS" else x
    if x is None or isinstance(x, bool):
        return x
    if isinstance(x, (str, int, float)):
        return next(kind(x) for kind in (str, int, float) if isinstance(x, kind))
    if isinstance(x, dict):
        return {str(k): plain(v, depth + 1) for k, v in x.items()}
    if isinstance(x, (list, tuple, set, frozenset, range)):
        return [plain(v, depth + 1) for v in x]
    if isinstance(x, (type, np.ndarray)) or not hasattr(x, "__array__"):
        raise TypeError(f"expected numbers or arrays, got {x.dtype if hasattr(x, 'dtype') else type(x).__name__}")
    return plain(np.asarray(x), depth + 1)


def why(error):
    """One line: type, message, and where in which cell."""
    try:
        text = str(error)[:300]
    except BaseException:
        text = "its message cannot be read"
    places = [f" ({frame.filename}, line {frame.lineno})" for frame in traceback.extract_tb(error.__traceback__)
              if frame.filename.startswith("cell ")]
    return f"{type(error).__name__}: {text}{places[-1] if places else ''}"


class Shell:
    """What magics and `!` call here. Those that time or catch a statement run it; all others do nothing."""

    def __init__(self, names):
        self.names = names

    def run_line_magic(self, magic, line, *_, **__):
        return self.run_cell_magic(magic, "", line)

    def run_cell_magic(self, magic, line, body):
        if magic in ("time", "timeit", "prun", "capture"):
            run(body, "magic", self.names)

    def __getattr__(self, name):
        return lambda *_, **__: [] if name == "getoutput" else None


def run(source, name, names):
    linecache.cache[name] = len(source), None, source.splitlines(True), name  # for inspect.getsource
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except SyntaxError:  # only now: IPython takes half a second to import
        from IPython.core.inputtransformer2 import TransformerManager
        code = compile(TransformerManager().transform_cell(source), name, "exec", dont_inherit=True)
    exec(code, names)


def handle(message, names):
    if message["do"] == "start":
        return start(**message)
    if message["do"] == "cell":
        return run(message["source"], message["name"], names)
    values, tries = [], message["inputs"] if isinstance(message["inputs"], list) else [message["inputs"]]
    for inputs in tries:
        scope = {**names, **inputs}  # a function of the notebook goes on seeing its own globals
        exec(message["setup"], scope)
        values.append(plain(eval(message["call"], scope)))
    body = pack(values if tries is message["inputs"] else values[0])
    if len(body) > message["reply"]:
        raise ValueError(f"an answer of more than {message['reply']} bytes")
    return unpack(body)  # refuses here, with a reason, what the outside would refuse


def start(do, limits, path, files):
    """Limits that the kernel holds from now on: without privileges outside the jail, none can be raised again."""
    import resource
    for name, value in limits.items():
        limit = getattr(resource, f"RLIMIT_{name}")  # all exist on Linux
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (value, value))
    sys.path.append(path)
    for name, content in files.items():
        os.makedirs(os.path.dirname(os.path.abspath(name)), exist_ok=True)
        with open(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as file:
            file.write(content.tobytes())


def main(requests, replies):
    me, module = os.getpid(), types.ModuleType("__main__")
    sys.modules["__main__"], names = module, vars(module)
    shell = Shell(names)
    names.update(get_ipython=lambda: shell, display=lambda *_, **__: None)
    while len(head := requests.read(24)) == 24:
        try:
            answer = {"value": handle(unpack(requests.read(int.from_bytes(head[16:], "big"))), names), "error": None}
        except BaseException as error:  # also SystemExit and KeyboardInterrupt
            answer = {"value": None, "error": why(error)}
        if os.getpid() != me:  # a cell forked, and this is the child
            os._exit(0)
        body = pack(answer)
        replies.write(head[:16] + len(body).to_bytes(8, "big") + body)
        replies.flush()


if __name__ == "__main__":
    answers = int(sys.argv[1])
    os.closerange(3, answers)
    os.closerange(answers + 1, 1024)
    questions = os.fdopen(os.dup(0), "rb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # input() finds the end of a file
    main(questions, open(answers, "wb"))
    os._exit(0)  # no atexit
