"""Where a task runs in the cluster: every word of Kubernetes is here."""

from kfp import dsl, kubernetes

RUN_ROOT = "/maskline/runs"
"""Where the volume of run directories is mounted; `run_root` lies on it."""
RUN_VOLUME = "maskline-runs"
"""Name of the persistent volume claim that all trials share; it must allow ReadWriteMany."""
ACCELERATOR = "nvidia.com/gpu"
ACCELERATORS = 1
"""GPUs of a task that trains or predicts. Fixed when compiled: KFP 2.17 loses a pipeline parameter that only
the resources of a task in a loop use."""
SHARED = "/dev/shm"  # noqa: S108  no temporary file: where Linux keeps shared memory
SHARED_MEMORY = "8Gi"
"""Size of /dev/shm, through which loader processes hand over pictures."""


def on_any_node(task: dsl.PipelineTask, volume: str, memory: str = "2Gi") -> dsl.PipelineTask:
    """A stage that needs processors only, and the volume of run directories."""
    kubernetes.mount_pvc(task, pvc_name=volume, mount_path=RUN_ROOT)
    return task.set_cpu_request("1").set_memory_request(memory)


def on_gpu_node(task: dsl.PipelineTask, volume: str) -> dsl.PipelineTask:
    """A stage that trains or predicts: GPUs, shared memory, and the volume of run directories."""
    kubernetes.mount_pvc(task, pvc_name=volume, mount_path=RUN_ROOT)
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path=SHARED, medium="Memory", size_limit=SHARED_MEMORY
    )
    task.set_cpu_request("4").set_memory_request("16Gi").set_memory_limit("16Gi")
    return task.set_accelerator_type(ACCELERATOR).set_accelerator_limit(ACCELERATORS)
