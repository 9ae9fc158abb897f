"""Programs that run an exported file on the CPU."""

from typing import Any

from maxvit.benchmark.job import Array, Engine, Job


def open_onnxruntime(job: Job) -> Engine:
    """ONNX Runtime, with its defaults but for the threads."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)  # errors alone
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(job.file, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: Array) -> Array:
        return session.run(None, {name: images})[0]

    return run


def open_openvino(job: Job) -> Engine:
    """OpenVINO, told to compute in fp32 where it would choose less, and to answer soon rather than often."""
    return _openvino(job, {})


def open_openvino_plain(job: Job) -> Engine:
    """OpenVINO without its fused attention ("snippets"), with which version 2026.4 is wrong by 1 % on small maps."""
    return _openvino(job, {"SNIPPETS_MODE": "DISABLE"})


def _openvino(job: Job, more: dict[str, Any]) -> Engine:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": job.threads,
    }
    compiled = openvino.Core().compile_model(str(job.file), "CPU", settings | more)

    def run(images: Array) -> Array:
        return compiled(images)[0]

    return run
