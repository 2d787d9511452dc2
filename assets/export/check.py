"""Do the models in this folder answer here as they did where they were exported, and how long do they take?

``python check.py`` asks every model for its answers to the pictures in check.npz and compares them with the recorded
ones: bit for bit, or by how much they differ. ``python check.py --time`` measures time, memory and energy on this
device and prints a line of JSON, which ``kdviz profile -e EXPERIMENT --from FILE`` reads.

It needs Python 3.9 or newer, numpy and onnxruntime and nothing else; the files of other runtimes need these
(model.xml: openvino, model.pte: executorch, model.tflite: ai-edge-litert).
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
TOLERANCE = 1e-4  # of the largest score: what other processors round differently
BURST_SECONDS, MOST_CALLS = 0.01, 40  # the turn of a model in a round: as many calls as fit, at least one
FEWEST_ROUNDS, MOST_ROUNDS = 9, 60
ENERGY_SECONDS = 1.0  # the counters of a processor are too coarse for single calls
RAPL = Path("/sys/class/powercap/intel-rapl:0")


class DamagedError(Exception):
    """The folder is not whole; the text says why."""


def described(folder):
    """The content of export.json, after a check that no file was changed."""
    about = _read_json(folder / "export.json")
    known = {name: file["sha256"] for name, file in about["files"].items()}
    known.update({name: digest for name, digest in about["others"].items() if name.endswith((".bin", ".npz"))})
    for name, digest in known.items():
        if hashlib.sha256(_read(folder / name)).hexdigest() != digest:
            raise DamagedError(f"{name} is not the file that was exported; copy the folder again.")
    return about


def recorded(folder):
    """The pictures of check.npz, uint8 (n, height, width, channels), and file -> recorded scores (n, classes)."""
    try:
        with np.load(folder / "check.npz", allow_pickle=False) as arrays:
            scores = {name[len("scores ") :]: arrays[name] for name in arrays.files if name.startswith("scores ")}
            return arrays["pictures"], scores
    except (OSError, ValueError, KeyError) as error:
        raise DamagedError("check.npz is missing or damaged; copy the folder again.") from error


def _read_json(path):
    try:
        document = json.loads(_read(path))
        if isinstance(document["files"], dict) and isinstance(document["others"], dict):
            return document
    except (ValueError, KeyError, TypeError):
        pass
    raise DamagedError(f"{path.name} is damaged; copy the folder again.")


def _read(path):
    try:
        return path.read_bytes()
    except OSError as error:
        raise DamagedError(f"'{path}' is missing; copy the folder again.") from error


def prepared(about, pictures):
    """The models' input: the pictures themselves where the files prepare them, else scaled and normalised."""
    if about["preprocessing"] == "inside":
        return pictures
    mean, std = (np.asarray(about["input"][name], np.float32) for name in ("mean", "std"))
    values = pictures.astype(np.float32) / np.float32(255)
    return np.ascontiguousarray(((values - mean) / std).transpose(0, 3, 1, 2))


def opened(path, threads):
    """A function from a batch to scores (n, classes), of a model file."""
    if path.suffix in OTHERS:
        return OTHERS[path.suffix][1](path, threads)
    session = _session(path, threads)
    source, output = session.get_inputs()[0], session.get_outputs()[0].name
    kind = {"tensor(uint8)": np.uint8, "tensor(float16)": np.float16, "tensor(double)": np.float64}
    dtype = kind.get(source.type, np.float32)
    return lambda batch: np.asarray(session.run([output], {source.name: batch.astype(dtype, copy=False)})[0])


def _session(path, threads):
    try:
        import onnxruntime
    except ImportError as error:
        raise DamagedError("onnxruntime is missing; install it with: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _opened_by_openvino(path, threads):
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(str(path), "CPU", settings).create_infer_request()
    return lambda batch: request.infer([batch])[0]


def _opened_by_executorch(path, threads):
    import torch
    from executorch.runtime import Runtime  # pyright: ignore[reportMissingImports]

    program = Runtime.get().load_program(path.read_bytes())
    method = program.load_method("forward")
    return lambda batch: _one_by_one(batch, lambda one: method.execute([torch.from_numpy(one)])[0].numpy().copy())


def _opened_by_litert(path, threads):
    from ai_edge_litert.interpreter import Interpreter  # pyright: ignore[reportMissingImports]

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    source, output = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def answer(one):
        interpreter.set_tensor(source, one)
        interpreter.invoke()
        return interpreter.get_tensor(output).copy()

    return lambda batch: _one_by_one(batch, answer)


def _one_by_one(batch, answer):
    return np.concatenate([answer(np.ascontiguousarray(batch[i : i + 1])) for i in range(len(batch))])


OTHERS = {
    ".xml": ("openvino", _opened_by_openvino),
    ".pte": ("executorch", _opened_by_executorch),
    ".tflite": ("ai_edge_litert", _opened_by_litert),
}
UNTIMED = ".pte"  # nothing sets how many threads ExecuTorch takes


def needed(name):
    """The package that a file needs besides onnxruntime, which all others need; empty without."""
    return OTHERS.get(Path(name).suffix, ("", None))[0]


def timed(about):
    """The files of an export that can be timed here."""
    return [name for name in about["files"] if runs_here(name) and not name.endswith(UNTIMED)]


def runs_here(name):
    """Whether the package that a file needs is installed; that of ONNX files always has to be."""
    return not needed(name) or importlib.util.find_spec(needed(name)) is not None


def check(about):
    """Print how each model's answers compare with the recorded ones; return the exit status."""
    pictures, scores = recorded(HERE)
    inputs, same = prepared(about, pictures), True
    for name in about["files"]:
        if not runs_here(name):
            print(f"{name}: not checked, since {needed(name)} is not installed here.")
            continue
        run = opened(HERE / name, 1)
        here = np.concatenate([run(inputs[index : index + 1]) for index in range(len(inputs))])
        text, as_recorded = compared(here, scores[name])
        print(f"{name}: {text}")
        same = same and as_recorded
    return 0 if same else 1


def compared(here, there):
    """A sentence on how scores (n, classes) differ from the recorded ones, and whether they are the same answers."""
    if here.shape != there.shape:
        return f"scores of shape {here.shape} instead of {there.shape}: DIFFERENT MODEL.", False
    if np.array_equal(here, there):
        return f"{len(there)} of {len(there)} answers are the same, bit for bit.", True
    difference, others = float(np.abs(here - there).max()), int((here.argmax(1) != there.argmax(1)).sum())
    limit = TOLERANCE * max(1.0, float(np.abs(there).max()))
    text = f"{len(there) - others} of {len(there)} answers are the same; scores differ by up to {difference:.2g}"
    if others == 0 and difference <= limit:
        return f"{text}, as another processor or version rounds.", True
    return f"{text}: MORE than rounding explains ({limit:.2g}).", False


def measured(options):
    """For each folder a document on this device, and what each model needs on it.

    All models of all folders have their turns in the same rounds, so that their times can be compared.
    """
    folders = [HERE, *(Path(name).resolve() for name in options.beside)]
    abouts = {folder: described(folder) for folder in folders}
    inputs = {folder: prepared(about, recorded(folder)[0]) for folder, about in abouts.items()}
    models = [folder / name for folder, about in abouts.items() for name in timed(about)]
    here = device(options.name)
    rows = {folder: [] for folder in folders}
    for threads in options.threads:
        times, calls = _times(models, inputs, threads, options)
        for (path, batch), rounds in times.items():
            row = {"file": path.name, "threads": threads, "batch": batch, "times_ms": rounds}
            row.update(calls=calls[path, batch], memory_bytes=_memory(path, threads, batch))
            row["energy_mj"] = _energy(path, inputs[path.parent], threads, batch) if options.energy else None
            rows[path.parent].append({**row, **_limits(abouts[path.parent], path, threads, batch)})
    return [{"kdviz_times": 1, "device": here, "export": abouts[key], "rows": rows[key]} for key in rows]


def device(name):
    import onnxruntime

    return {
        "machine": name or processor(),
        "cores": os.cpu_count() or 1,
        "system": platform.platform(),
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def processor():
    """The processor's name, as far as the system tells."""
    for path, key in (("/proc/device-tree/model", ""), ("/proc/cpuinfo", "model name")):
        if Path(path).is_file():
            lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
            names = [line.split(":")[-1].strip("\0 ") for line in lines if line.startswith(key)]
            if any(names):
                return next(filter(None, names))
    return platform.processor() or platform.machine() or "CPU"


def _batch_of(inputs, count):
    return np.ascontiguousarray(inputs[np.arange(count) % len(inputs)])


def _times(models, inputs, threads, options):
    """(file, batch) -> milliseconds of each round, and calls in a round; every model has its turn in every round."""
    runs, times, calls = {}, {}, {}
    for path in models:
        run = opened(path, threads)
        for batch in options.batches:
            data = _batch_of(inputs[path.parent], batch)
            runs[path, batch], times[path, batch] = (run, data), []
            run(data)  # warm-up: allocates memory
            calls[path, batch] = int(min(MOST_CALLS, max(1, BURST_SECONDS / max(_seconds(run, data), 1e-9))))
    order, start, done, source = list(runs), time.monotonic(), 0, random.Random(0)
    while done < MOST_ROUNDS and (done < FEWEST_ROUNDS or time.monotonic() - start < options.seconds):
        source.shuffle(order)
        for key in order:
            run, data = runs[key]
            run(data)  # fills the caches again
            times[key].append(_median_ms(run, data, calls[key]))
        done += 1
    return times, calls


def _median_ms(run, data, count):
    return 1000 * float(np.median([_seconds(run, data) for _ in range(count)]))


def _seconds(run, *data):
    start = time.perf_counter()
    run(*data)
    return time.perf_counter() - start


def _memory(path, threads, batch):
    """The peak memory in bytes of a process that runs this model alone; None where the system does not tell."""
    command = [sys.executable, str(HERE / "check.py"), "--memory-of", str(path), "--threads", str(threads)]
    done = subprocess.run([*command, "--batches", str(batch)], capture_output=True, text=True, check=False)
    text = done.stdout.strip()
    return int(text) if done.returncode == 0 and text.isdecimal() else None


def peak_memory():
    """The largest resident memory of this process so far, in bytes; None where the system does not tell."""
    try:  # not of the process that has started this one, as getrusage tells on Linux
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _energy(path, inputs, threads, batch):
    """Millijoules of the whole processor for a call (RAPL); None where it is not told, or only to administrators."""
    if _joules() is None:
        return None
    run, data, calls = opened(path, threads), _batch_of(inputs, batch), 0
    run(data)
    before, start = _joules(), time.perf_counter()
    while time.perf_counter() - start < ENERGY_SECONDS:
        run(data)
        calls += 1
    after = _joules()
    if before is None or after is None or after <= before:  # the counter began again at zero
        return None
    return 1000 * (after - before) / calls


def _joules():
    try:
        return int((RAPL / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None


def _limits(about, path, threads, batch):
    """The least milliseconds of a call by the processor's limits, as far as a float32 model has them.

    Products of square matrices say how fast it multiplies, and a vector times a matrix of the model's size how fast it
    reads weights; both run in the same runtime with as many threads.
    """
    file = about["files"][path.name]
    if "limit.onnx" not in about["others"] or file["form"] != "onnx" or not about.get("flops"):
        return {}
    session = _session(path.parent / "limit.onnx", threads)
    squares = [np.ones((side, side), np.float32) for side in (256, 512)]
    flops_per_ms = max(2 * len(square) ** 3 / _best_ms(session, square, square) for square in squares)
    vector = np.ones((1, 512), np.float32)
    weights = np.ones((512, max(1, file["bytes"] // (4 * 512))), np.float32)
    bytes_per_ms = weights.nbytes / _best_ms(session, vector, weights)
    arithmetic = batch * about["flops"] / flops_per_ms
    return {"arithmetic_ms": arithmetic, "reading_ms": file["bytes"] / bytes_per_ms}


def _best_ms(session, left, right):
    """The shortest of at least five calls: the processor's limit, not its average."""
    spent, begun = [], time.perf_counter()
    while len(spent) < 5 or (time.perf_counter() - begun < 0.3 and len(spent) < 500):
        spent.append(_seconds(session.run, None, {"left": left, "right": right}))
    return 1000 * min(spent)


def _numbers(text):
    values = [int(part) for part in text.split(",")]
    if min(values) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return values


def _options():
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--time", action="store_true", help="measure, and print a line of JSON for kdviz profile")
    parser.add_argument("--name", default="", help="this device's name in the tables (default: its processor's)")
    parser.add_argument("--threads", type=_numbers, default=[1], help="CPU threads, one or several, such as 1,2")
    parser.add_argument("--batches", type=_numbers, default=[1, 8], help="pictures in a call (default: 1,8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of measuring times, for each number of threads")
    parser.add_argument(
        "--with", dest="beside", nargs="+", default=[], metavar="DIR", help="further exports to time in the same rounds"
    )
    parser.add_argument("--no-energy", dest="energy", action="store_false", help="leave energy away, which takes time")
    parser.add_argument("--memory-of", metavar="FILE", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    options = _options()
    try:
        if options.memory_of:
            path = Path(options.memory_of)
            inputs = prepared(_read_json(path.parent / "export.json"), recorded(path.parent)[0])
            opened(path, options.threads[0])(_batch_of(inputs, options.batches[0]))
            print(peak_memory() or "")
        elif options.time:
            for document in measured(options):
                print(json.dumps(document))
        else:
            return check(described(HERE))
    except DamagedError as problem:
        print(f"check.py: {problem}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
